"""What the shop's staff reads when it reviews replies: SQL that finds and reads, and never writes."""
