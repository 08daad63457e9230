import pytest

from benchmarks import protocol

MODULE = "tests.benchmarks.trainer"


def _trainer(variant):
    return protocol.Trainer("it", MODULE, protocol.Job(variant=variant))


@pytest.mark.parametrize("variant", ["steps", "loop"])
def test_rounds_are_answered_one_by_one(variant):
    with _trainer(variant) as trainer:
        assert trainer.ready().facts == {"versions": {"none": "1"}, "cores": protocol.cores()}
        for steps in (1, 3):
            answer = trainer.run(steps)
            assert 0 <= answer["seconds"] < 10
            assert answer["peak_bytes"] > 2**20


def test_what_a_process_said_last_is_told():
    with _trainer("broken") as trainer, pytest.raises(RuntimeError, match="no such variant"):
        trainer.ready()


def test_a_process_over_the_limit_is_ended():
    with _trainer("steps") as trainer:
        trainer.ready()
        assert trainer.run(10, limit=2**27)["peak_bytes"] < 2**27
        with pytest.raises(protocol.TooLarge):
            trainer.run(200, limit=2**27)


def test_a_peak_can_be_forgotten():
    kept = bytearray(b"x" * 2**26)
    before = protocol.peak_bytes()
    del kept
    protocol.forget_peak()
    assert protocol.resident_bytes() <= protocol.peak_bytes() < before - 2**25
