"""The images that are held back."""

from pathlib import Path

from data.dataset import Index, Record
from data.hold_back import hold_back


def index(counts: dict[tuple[int, ...], int]) -> Index:
    records = [
        Record(f"{labels}-{number}", Path("x.jpg"), labels)
        for labels, count in counts.items()
        for number in range(count)
    ]
    return Index(("cat", "dog"), tuple(records))


def test_both_parts_together_are_the_list_in_its_order():
    whole = index({(0,): 20, (1,): 7, (): 33})
    kept, held = hold_back(whole, 0.25, seed=3)
    assert sorted(whole.records.index(record) for record in (*kept.records, *held.records)) == list(range(60))
    assert [whole.records.index(record) for record in kept.records] == sorted(map(whole.records.index, kept.records))


def test_every_group_of_labels_gives_its_part():
    kept, held = hold_back(index({(0,): 40, (1,): 8, (0, 1): 3, (): 100}), 0.25, seed=0)
    assert held.label_counts() == {"cat": 10, "dog": 2}
    assert sum(not record.labels for record in held.records) == 25
    assert kept.label_counts() == {"cat": 33, "dog": 9}


def test_none_is_held_back_of_a_class_of_few_images_or_where_nothing_is_asked():
    assert not len(hold_back(index({(0,): 9, (1,): 2}), 0.1, seed=0)[1])
    assert not len(hold_back(index({(0,): 900}), 0.0, seed=0)[1])


def test_the_seed_decides():
    whole = index({(0,): 50, (): 50})
    first, again, other = (hold_back(whole, 0.2, seed)[1] for seed in (1, 1, 2))
    assert first == again != other
