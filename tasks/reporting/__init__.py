"""Reports of incidents that wait for a person: gathered, kept in the cache, then published or deleted."""
