from finetune_advisor.data.health import crossing, exact_duplicates, imbalance


def test_copies_are_grouped_and_unreadable_files_are_nobodys_copy():
    assert exact_duplicates(["a", "b", "c", "d", "e"], ["1", None, "2", None, "1"]) == (("a", "e"),)


def test_copies_across_splits_and_classes():
    duplicates = (("a", "b"), ("c", "d"), ("e", "f"))
    split_of = dict.fromkeys("abcdef", "train") | {"b": "test"}
    label_of = dict.fromkeys("abcdef", 0) | {"d": 1}
    found = crossing(duplicates, split_of, label_of)
    assert found.splits == (("a", "b"),)
    assert found.classes == (("c", "d"),)


def test_imbalance_is_largest_over_smallest():
    assert imbalance([10, 40, 20]) == 4
