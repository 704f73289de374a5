"""One cycle of a mirror: pull, settle, decide, plan, apply. Without Prefect: `tasks.incidents` makes tasks of it."""
