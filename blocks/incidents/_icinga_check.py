"""What a check of Icinga looks at, in words."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from blocks.errors import LockstepError
from blocks.incidents import _icinga as records
from blocks.incidents._icinga import KINDS
from blocks.incidents._icinga_calls import Monitor
from blocks.model import Finding

READS: Final = ("objects/query/Host", "objects/query/Service", "objects/query/Comment")
WRITES: Final = ("actions/acknowledge-problem", "actions/remove-acknowledgement", "actions/add-comment")


async def findings(monitor: Monitor) -> list[Finding]:
    """A check's lines, up to the first that is wrong."""
    try:
        answer = await monitor.http.json("GET", "")
        mine = [str(one).partition(" ")[0] for one in answer["results"][0]["permissions"]]
    except LockstepError as error:
        return [Finding("login", ok=False, detail=error.message)]
    except records.ODD:
        return [Finding("login", ok=False, detail="no Icinga 2 API answers there: it listens on port 5665")]
    lacks = [one for one in READS if not _allows(mine, one)]
    done = [Finding("login", ok=True), Finding("may read", ok=not lacks, detail=_give(lacks))]
    if lacks:
        return done
    silent = [one for one in WRITES if not _allows(mine, one)]
    only = f"only to read; to acknowledge and comment: {_give(silent)}" if silent else ""
    return [*done, Finding("may write", ok=True, detail=only), await _scope(monitor)]


def _allows(permissions: Sequence[str], wanted: str) -> bool:
    return any(fnmatchcase(wanted.lower(), one.lower()) for one in permissions)


def _give(lacks: Sequence[str]) -> str:
    return f"give this API user the permissions {', '.join(lacks)}" if lacks else ""


async def _scope(monitor: Monitor) -> Finding:
    """A group that does not exist would silently hold nothing."""
    for kind in KINDS:
        scope, bound = monitor.scope(kind)
        try:
            if scope and not await monitor.search(kind.type, kind.path, " && ".join(scope), bound, attrs=["__name"]):
                return Finding(
                    "groups", ok=False, detail=f"no {kind.name} is in {', '.join(monitor.groups[kind.name])}"
                )
        except LockstepError as error:
            return Finding("groups", ok=False, detail=error.message)
    return Finding("groups", ok=True)
