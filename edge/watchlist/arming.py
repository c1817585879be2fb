"""What has to hold at every moment of use, not only when a list arrives. Pure.

A device is *armed* while a list is in force and nothing of this stands against it. It is asked for
every frame. AI Act, Art. 5(2): use keeps to its limits in time, place and person; Art. 14(4)(e):
people can stop it. Surveillance Camera Code, principle 3: no looking in secret; a camera shows that
it is armed (`edge.health.indicator`). A doubt about time or place is no permission to look.
"""

from __future__ import annotations

from edge.protocol.watchlist import Authorisation
from edge.watchlist.authorisation import Profile
from edge.watchlist.place import Fix, outside
from edge.watchlist.timekeeping import Time


def obstacle(
    authorisation: Authorisation, end: float, *, profile: Profile, time: Time, fix: Fix | str
) -> str:
    """Say what stands against looking by a list right now; empty if nothing does.

    Args:
        authorisation: of the list in force.
        end: from when on nobody is found by it, seconds since 1970.
        profile: kind of camera.
        time: what is known of it.
        fix: where the device is, or why that is not known.
    """
    if time.is_over(end):
        return "the list has expired"
    if time.doubt:
        return f"the clock is not trusted: {time.doubt}"
    if time.now < authorisation.not_before:
        return "the list is not valid yet"
    if authorisation.area is None:
        return "" if profile == "fixed" else "the list names no area"
    if isinstance(fix, str):
        return f"no position: {fix}"
    return outside(authorisation.area, fix, time.running)
