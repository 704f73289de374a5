"""The incident systems. To add one: a file beside this, and its class in the union."""

from blocks.incidents.roundup import Roundup

AnyIncidentSystem = Roundup

__all__ = ["AnyIncidentSystem", "Roundup"]
