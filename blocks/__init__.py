"""Who we talk to, and with which secret: blocks, contracts, the store."""
