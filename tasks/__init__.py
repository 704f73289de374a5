"""What is done: a task is one thing that can fail and be tried again."""
