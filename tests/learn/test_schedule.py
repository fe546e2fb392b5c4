import pytest

from hipseg.config import TrainSettings
from hipseg.learn.schedule import full_rate, rate_at


@pytest.mark.parametrize(("scaling", "rate"), [("none", 0.001), ("sqrt", 0.002), ("linear", 0.004)])
def test_rate_grows_with_the_batch_as_asked_for(scaling, rate):
    settings = TrainSettings(batch_size=32, learning_rate_batch=8, learning_rate_scaling=scaling)
    assert full_rate(settings) == pytest.approx(rate)


def test_default_rate_is_that_of_the_settings_to_the_last_bit():
    assert rate_at(TrainSettings(learning_rate=0.0007), 3, 2, 5) == 0.0007


def test_warm_up_rises_evenly_step_by_step_and_then_stays():
    settings = TrainSettings(learning_rate=0.8, warmup_epochs=2)
    rates = [rate_at(settings, epoch, step, 2) for epoch in (1, 2, 3) for step in (1, 2)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
