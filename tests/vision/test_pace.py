"""How hard a frame is looked at, over made-up times."""

from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.vision.pace import EVERY_FRAME, NORMAL, Effort, Need, Pace

situations = st.fixed_dictionaries(
    {"need": st.sampled_from(Need), "cut": st.booleans(), "moved": st.booleans()}
)
steps = st.lists(st.tuples(st.floats(0.001, 5.0), situations), min_size=1, max_size=60)


@given(steps)
def test_the_first_look_and_every_look_after_a_cut_are_full(script):
    pace, seconds = Pace(), 0.0
    for i, (elapsed, situation) in enumerate(script):
        seconds += elapsed
        effort = pace.effort(seconds, **situation)
        if i == 0 or situation["cut"]:
            assert effort is Effort.FULL


@given(steps)
def test_no_situation_is_left_unseen_for_longer_than_its_interval(script):
    """Also where situations alternate: the time that counts is the time since the last look."""
    pace, seconds, looked = Pace(), 0.0, float("-inf")
    everywhere = fully = float("-inf")
    for elapsed, situation in script:
        seconds += elapsed
        effort = pace.effort(seconds, **situation)
        if effort is Effort.NONE:
            most = {
                Need.FRESH: limits.LOOK_FRESH_S,
                Need.DECIDING: limits.LOOK_DECIDING_S,
                Need.FOLLOWING: limits.LOOK_FOLLOWING_S,
                Need.NOBODY: limits.LOOK_STILL_S,
            }
            assert seconds - looked < most[situation["need"]]
        else:
            looked = seconds
        if effort is Effort.FULL:
            fully = seconds
        if effort in (Effort.FULL, Effort.COARSE):
            everywhere = seconds
        if effort is Effort.NEAR:
            assert seconds - everywhere < limits.LOOK_WHOLE_S
        if effort is Effort.COARSE:
            assert seconds - fully < limits.LOOK_COARSE_SHARE * limits.LOOK_STILL_S


@given(steps)
def test_around_faces_only_where_some_are_known_and_coarsely_only_where_none_lacks_views(script):
    pace, seconds = Pace(), 0.0
    for elapsed, situation in script:
        seconds += elapsed
        effort = pace.effort(seconds, **situation)
        assert effort is not Effort.NEAR or situation["need"] is not Need.NOBODY
        assert effort is not Effort.COARSE or situation["need"] in (Need.FOLLOWING, Need.NOBODY)


@given(steps)
def test_every_frame_means_every_frame(script):
    pace, seconds = Pace(EVERY_FRAME), 0.0
    for elapsed, situation in script:
        seconds += elapsed
        assert pace.effort(seconds, **situation) is Effort.FULL


def test_at_25_frames_a_second_a_face_that_lacks_views_is_looked_for_in_every_other():
    pace = Pace(NORMAL)
    situation = {"cut": False, "moved": True, "need": Need.DECIDING}
    looks = [pace.effort(i / 25, **situation) is not Effort.NONE for i in range(25)]
    assert looks == [i % 2 == 0 for i in range(25)]


@given(steps)
def test_only_what_nobody_is_in_is_not_compared_and_never_for_longer_than_the_gate(script):
    """What is not due would have been no look; with a track alive each frame is due."""
    pace, seconds, compared, looked = Pace(), 0.0, float("-inf"), float("-inf")
    for elapsed, situation in script:
        seconds += elapsed
        if pace.due(seconds, situation["need"]):
            if pace.effort(seconds, **situation) is not Effort.NONE:
                looked = seconds
            compared = seconds
        else:
            assert situation["need"] is Need.NOBODY
            assert (
                seconds - compared < limits.LOOK_GATE_S or seconds - looked < limits.LOOK_MOVING_S
            )
