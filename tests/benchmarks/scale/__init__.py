"""`make scale`: how many pods a load takes, by simulating the engine's steps. Start reading at `pod`."""
