"""From the original public formats of dialogue data to the project's uniform rows. Start reading at `registry`."""
