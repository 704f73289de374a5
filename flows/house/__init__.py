"""What keeps the house running on one machine: keys, child processes, what the Prefect server must know, the watch."""
