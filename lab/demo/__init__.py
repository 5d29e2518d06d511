"""`./demo`: one failover, told to a person as it happens. Start at story.py."""
