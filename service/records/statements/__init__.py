"""What the store does, in SQL: functions over a connection whose transaction the caller began and will commit."""
