"""The rows of the table in families: each module measures some of them and gives a finding for each."""
