"""Which engine makes a completion: free slots first, then what is read already against who is served beside."""

from collections.abc import Sequence

from service.engine.running.seats import Seat, choose_seat

TURN = tuple(range(100, 300))
"""Three whole chunks of 64 tokens, and a bit."""
OTHER = tuple(range(500, 700))


def seats(*num_placed: int, num_slots: int = 4) -> list[Seat]:
    """Engines that take completions, and are making so many."""
    found = []
    for number in num_placed:
        seat = Seat(num_slots, is_ready=True)
        seat.request_ids = {str(place) for place in range(number)}
        found.append(seat)
    return found


def test_the_engine_that_serves_fewer_is_chosen() -> None:
    """Where nobody knows the prompt."""
    busy, idle = seats(2, 1)
    assert choose_seat([busy, idle], TURN) is idle


def test_a_further_turn_goes_where_the_conversation_was_read() -> None:
    """Among equals; another conversation goes to the other one as soon as that serves fewer."""
    first, second = seats(0, 0)
    assert choose_seat([first, second], TURN) is first
    first.request_ids = {"a"}
    assert choose_seat([first, second], OTHER) is second
    second.request_ids = {"b"}
    assert choose_seat([first, second], (*OTHER, *TURN)) is second
    assert choose_seat([first, second], (*TURN, *OTHER)) is first


def read(seat: Seat, prompt_ids: Sequence[int]) -> None:
    """Lets an engine read a prompt, beside one that is away."""
    assert choose_seat([seat, Seat(4, is_ready=False)], prompt_ids) is seat


def test_company_costs_more_than_reading_a_short_prompt() -> None:
    """Three chunks are read elsewhere rather than beside somebody; ten are not."""
    knowing, idle = seats(0, 0)
    long = range(640)
    for prompt in (TURN, long):
        read(knowing, prompt)
    knowing.request_ids = {"a"}
    assert choose_seat([knowing, idle], TURN) is idle
    assert choose_seat([knowing, idle], long) is knowing


def test_a_free_slot_beats_everything() -> None:
    """Whoever waits cannot make use of what is read."""
    full, almost = seats(2, 1, num_slots=2)
    read(full, range(6400))
    assert choose_seat([full, almost], range(6400)) is almost


def test_an_engine_that_is_lost_gets_nothing_and_remembers_nothing() -> None:
    """Its completions are told, and when it comes back it has read nothing."""
    lost, other = seats(1, 2)
    choose_seat([lost, other], TURN)
    assert lost.empty() == ("0",)
    assert choose_seat([lost, other], TURN) is other
    lost.is_ready = True
    lost.request_ids = {"a", "b"}
    assert choose_seat([lost, other], TURN) is other
    assert choose_seat([], TURN) is None


def test_what_is_remembered_is_bounded_and_beginnings_stay_longest() -> None:
    """1,000 chunks; a prompt whose beginning is forgotten counts for nothing."""
    (seat,) = seats(0)
    seat.memory.note(range(10))
    seat.memory.note(range(100, 1095))
    assert seat.memory.num_known(range(10)) == 5
    seat.memory.note(range(2000, 3000))
    assert seat.memory.num_known(range(10)) == 0
