"""Decisions: pure functions over values; no I/O, no await, no Prefect."""
