from kvtape.session.spec import OVERFLOWS, SessionSpec


def test_the_first_generation_drops_the_newest_and_the_second_the_oldest():
    assert SessionSpec(wire=1).policy == "drop_newest"
    assert SessionSpec(wire=2).policy == "drop_oldest"


def test_a_session_may_choose_its_policy():
    assert [SessionSpec(overflow=overflow).policy for overflow in OVERFLOWS] == list(OVERFLOWS)
