"""The rules about the hub: what `tao-run access` and `check --access` can find, and what it would cost unseen."""

from __future__ import annotations

from typing import Final

from tao_runtime.data.fold import declare

_RANKS = "every rank of a run asks the hub, fails, and asks again: hours of a cluster for a page nobody clicked"
_LATER = "what a library fetches without a key is found out when the run has started"

TOKEN_MALFORMED = declare(
    "access/token-malformed", "error", "A token is one that the hub could have given.",
    source="a token with a blank or a line end is refused for public files too",
)  # fmt: skip
TOKEN_MISSING = declare(
    "access/token-missing", "error", "A gated repository is asked for with a token (401).", source=_RANKS
)
TOKEN_REFUSED = declare("access/token-refused", "error", "The hub takes the token (401).", source=_RANKS)
LICENCE = declare(
    "access/licence", "error", "The token's account has accepted the licence of a repository (403).", source=_RANKS
)
NOT_FOUND = declare("access/not-found", "error", "A repository and its revision exist (404).", source=_RANKS)
UNREACHABLE = declare("access/unreachable", "error", "The hub answers, in time and in its own form.", source=_LATER)
OFFLINE = declare("access/offline", "error", "With --offline, all that is needed is whole in the cache.", source=_LATER)
UNKNOWN = declare("access/unknown", "error", "What is not on this machine has a place on the hub.", source=_LATER)
RULES: Final = {
    info.name.removeprefix("access/"): info
    for info in (
        *(TOKEN_MALFORMED, TOKEN_MISSING, TOKEN_REFUSED, LICENCE),
        *(NOT_FOUND, UNREACHABLE, OFFLINE, UNKNOWN),
    )
}
