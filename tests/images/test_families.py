from finetune_advisor.images.duplicates import Pair, family_ids


def test_images_alone_are_families_of_one() -> None:
    assert family_ids(3, digests=["a", "b", "c"]).tolist() == [0, 1, 2]
    assert family_ids(0, digests=[]).tolist() == []


def test_a_chain_of_copies_near_duplicates_and_groups_is_one_family() -> None:
    families = family_ids(
        7,
        digests=["a", "b", "a", "c", "d", "e", "f"],
        pairs=[Pair(2, 3, 0.95, confirmed=False)],
        groups=[None, None, None, "patient", "patient", None, "other"],
    )
    # 0 and 2 are one file, 2 and 3 alike, 3 and 4 one patient.
    assert families.tolist() == [0, 1, 0, 0, 0, 2, 3]


def test_files_without_digest_or_group_belong_to_nobody() -> None:
    assert family_ids(3, digests=[None, None, "a"], groups=[None, None, None]).tolist() == [0, 1, 2]


def test_families_agree_with_connected_components() -> None:
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(0)
    first_P, second_P = rng.integers(0, 300, (2, 180))
    pairs = [Pair(int(i), int(j), 1.0, confirmed=True) for i, j in zip(first_P, second_P, strict=True)]
    expected_N = connected_components(coo_matrix((np.ones(180), (first_P, second_P)), (300, 300)), directed=False)[1]
    families_N = family_ids(300, digests=range(300), pairs=pairs)
    same_NN = families_N[:, None] == families_N
    assert (same_NN == (expected_N[:, None] == expected_N)).all()
