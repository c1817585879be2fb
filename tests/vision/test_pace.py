"""How hard a frame is looked at, over made-up times."""

from hypothesis import given
from hypothesis import strategies as st

from edge import limits
from edge.vision.pace import EVERY_FRAME, NORMAL, Effort, Pace

situations = st.fixed_dictionaries(
    {"cut": st.booleans(), "moved": st.booleans(), "following": st.booleans()}
).flatmap(
    lambda d: st.fixed_dictionaries(
        {
            **{k: st.just(v) for k, v in d.items()},
            "deciding": st.booleans() if d["following"] else st.just(False),
        }
    )
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
    pace, seconds, looked, whole = Pace(), 0.0, float("-inf"), float("-inf")
    for elapsed, situation in script:
        seconds += elapsed
        effort = pace.effort(seconds, **situation)
        if effort is Effort.NONE:
            assert seconds - looked < limits.LOOK_STILL_S
            if situation["following"]:
                assert seconds - looked < limits.LOOK_FOLLOWING_S
            if situation["deciding"]:
                assert seconds - looked < limits.LOOK_DECIDING_S
        else:
            looked = seconds
        if effort is Effort.FULL:
            whole = seconds
        if situation["following"] and effort is Effort.NEAR:
            assert seconds - whole < limits.LOOK_WHOLE_S


@given(steps)
def test_around_faces_only_where_some_are_known_and_coarsely_only_where_none_is(script):
    pace, seconds = Pace(), 0.0
    for elapsed, situation in script:
        seconds += elapsed
        effort = pace.effort(seconds, **situation)
        assert effort is not Effort.NEAR or situation["following"]
        assert effort is not Effort.COARSE or not situation["following"]


@given(steps)
def test_every_frame_means_every_frame(script):
    pace, seconds = Pace(EVERY_FRAME), 0.0
    for elapsed, situation in script:
        seconds += elapsed
        assert pace.effort(seconds, **situation) is Effort.FULL


def test_at_25_frames_a_second_a_new_face_is_looked_for_in_every_other():
    pace = Pace(NORMAL)
    situation = {"cut": False, "moved": True, "following": True, "deciding": True}
    looks = [pace.effort(i / 25, **situation) is not Effort.NONE for i in range(25)]
    assert looks == [i % 2 == 0 for i in range(25)]
