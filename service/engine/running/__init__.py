"""How an engine is kept running: its loop, in a thread of this process or in a process of its own."""
