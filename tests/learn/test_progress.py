import dataclasses
import io

from rich.console import Console

from hipseg.learn.progress import EpochProgress, say
from tests.learn.builders import quiet_console
from tests.learn.test_history import ROW

SCORES = (
    "loss 0.7000, accuracy 0.6000, iou 0.2000, dice 0.3333, val_loss 0.6500, val_accuracy 0.5500, val_iou 0.1000, val_dice 0.2000"
)


def show_two_epochs(console):
    with EpochProgress(console, "unet fold 0", epochs=2) as progress:
        for epoch in (1, 2):
            progress.begin_epoch(epoch, steps=3)
            for _ in range(3):
                progress.step()
            progress.end_epoch(dataclasses.replace(ROW, epoch=epoch), is_best=epoch == 1)


def test_without_a_terminal_there_is_one_plain_line_an_epoch():
    console = quiet_console()
    show_two_epochs(console)
    assert console.file.getvalue().splitlines() == [
        f"unet fold 0, epoch 1/2: 2.5 s, {SCORES} (best so far)",
        f"unet fold 0, epoch 2/2: 2.5 s, {SCORES}",
    ]


def test_terminal_shows_a_bar_besides_and_takes_it_away_at_the_end():
    console = Console(file=io.StringIO(), force_terminal=True, width=250, color_system=None)
    show_two_epochs(console)
    shown = console.file.getvalue()
    assert "unet fold 0, epoch 2/2 ━" in shown
    assert "3/3" in shown
    assert shown.count("val_dice 0.2000") == 2
    erase_line, show_cursor = "\x1b[2K", "\x1b[?25h"
    assert shown.endswith(erase_line)
    assert show_cursor in shown


def test_text_is_printed_as_it_is():
    console = quiet_console()
    say(console, "[bold]not markup[/bold] " + "x" * 100)
    assert console.file.getvalue() == "[bold]not markup[/bold] " + "x" * 100 + "\n"
