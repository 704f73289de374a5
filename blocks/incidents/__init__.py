"""The incident systems. To add one: a file beside this, and its class in the union."""

from blocks.incidents.icinga import Icinga
from blocks.incidents.request_tracker import RequestTracker
from blocks.incidents.rest import RestSystem
from blocks.incidents.roundup import Roundup
from blocks.incidents.xsoar import Xsoar

AnyIncidentSystem = Icinga | RequestTracker | RestSystem | Roundup | Xsoar

__all__ = ["AnyIncidentSystem", "Icinga", "RequestTracker", "RestSystem", "Roundup", "Xsoar"]
