"""Golden values: computed from TensorFlow Datasets' rule and compared with VPT's published lists."""

import hashlib
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from wst.data.vtab1k.labels import dsprites_location, dsprites_orientation
from wst.data.vtab1k.pictures import sun397_partition
from wst.data.vtab1k.tfds_order import CUTS, Slice, cut, hash_order
from wst.errors import InputError

RESISC45 = """\
airplane airport baseball_diamond basketball_court beach bridge chaparral church
circular_farmland cloud commercial_area dense_residential desert forest freeway golf_course
ground_track_field harbor industrial_area intersection island lake meadow medium_residential
mobile_home_park mountain overpass palace parking_lot railway railway_station rectangular_farmland river
roundabout runway sea_ice ship snowberg sparse_residential stadium storage_tank tennis_court terrace
thermal_power_station wetland"""
EUROSAT = {
    "AnnualCrop": 3000,
    "Forest": 3000,
    "HerbaceousVegetation": 3000,
    "Highway": 2500,
    "Industrial": 2500,
    "Pasture": 2000,
    "PermanentCrop": 2500,
    "Residential": 3000,
    "River": 2500,
    "SeaLake": 3000,
}


def _numbers(*counts):
    return dict(zip(("train", "test", "validation"), map(range, counts), strict=False))


def _keys(name):
    if name == "patch_camelyon":
        return {
            s: [f"{p}_{i}" for i in range(n)]
            for s, p, n in (
                ("train", "train", 262144),
                ("validation", "valid", 32768),
                ("test", "test", 32768),
            )
        }
    if name == "clevr":
        return {
            "train": [f"CLEVR_train_{i:06d}.png" for i in range(70000)],
            "validation": [f"CLEVR_val_{i:06d}.png" for i in range(15000)],
        }
    if name == "eurosat":
        return {"train": [f"{c}_{c}_{i}.jpg" for c, n in EUROSAT.items() for i in range(1, n + 1)]}
    if name == "resisc45":
        return {"train": [f"{c}_{c}_{i:03d}.jpg" for c in RESISC45.split() for i in range(1, 701)]}
    if name == "sun397":
        return sun397_partition()
    return {
        "cifar100": _numbers(50000, 10000),
        "svhn_cropped": _numbers(73257, 26032),
        "dsprites": _numbers(737280),
        "smallnorb": _numbers(24300, 24300),
    }[name]


TEST_SIZES = {
    "cifar100": 10000,
    "svhn_cropped": 26032,
    "dsprites": 73728,
    "smallnorb": 12150,
    "patch_camelyon": 32768,
    "clevr": 15000,
    "sun397": 21750,
    "eurosat": 5400,
    "resisc45": 6300,
}

# name: first keys and last key of train, start of the SHA-256 over them, the same for val
GOLDEN = {
    "cifar100": (
        ["16399", "1680", "47917"],
        "45288",
        "5b25ee0661c3bc4a",
        ["13431", "9237", "17462"],
        "93377e439662509b",
    ),
    "svhn_cropped": (
        ["16399", "1680", "47917"],
        "39678",
        "901fe4f6d4f65bc8",
        ["21145", "64736", "23870"],
        "36ae944d2e322a4f",
    ),
    "dsprites": (
        ["16399", "634903", "206287"],
        "86528",
        "54130b46ffd22579",
        ["220697", "85843", "84902"],
        "86005e8c04783edc",
    ),
    "smallnorb": (
        ["16399", "1680", "17307"],
        "19374",
        "438b845e2bd4a468",
        ["23018", "16932", "19084"],
        "d9fca0e85af945f0",
    ),
    "patch_camelyon": (
        ["train_251464", "train_132287", "train_133786"],
        "train_109410",
        "c1122cb7e413b8b3",
        ["valid_3270", "valid_10310", "valid_20603"],
        "b3998b44bc8423a1",
    ),
    "clevr": (
        [f"CLEVR_train_{n}.png" for n in ("043876", "033421", "062025")],
        "CLEVR_train_047592.png",
        "5dc1033102716488",
        [f"CLEVR_train_{n}.png" for n in ("035084", "029360", "004525")],
        "9a9150228251ccef",
    ),
    "sun397": (
        ["/r/rope_bridge/sun_biqfl"],
        "",
        "bbfe318c912bf278",
        ["/b/boathouse/sun_armm"],
        "ed3f4079a4f342a7",
    ),
    "eurosat": (
        ["Forest_Forest_687.jpg", "Residential_Residential_188.jpg", "HerbaceousVegetation_"],
        "",
        "7dac90dec1b73063",
        ["SeaLake_SeaLake_804.jpg"],
        "5c9a3ab3702faf20",
    ),
    "resisc45": (
        [
            "dense_residential_dense_residential_068.jpg",
            "palace_palace_207.jpg",
            "golf_course_golf_course_450.jpg",
        ],
        "",
        "7c42d524f21f8a68",
        ["cloud_cloud_238.jpg"],
        "2a2bb0da49b4bb17",
    ),
}


@cache
def _chosen(name):
    keys = _keys(name)
    parts = cut(CUTS[name], keys, 800, 200, TEST_SIZES[name])
    return {part: [str(keys[c.split][c.index]) for c in chosen] for part, chosen in parts.items()}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name):
    first, last, train_sum, val_first, val_sum = GOLDEN[name]
    parts = _chosen(name)
    for found, expected in zip(parts["train"], first, strict=False):
        assert found.startswith(expected)
    assert not last or parts["train"][-1] == last
    for found, expected in zip(parts["val"], val_first, strict=False):
        assert found.startswith(expected)
    for part, expected in (("train", train_sum), ("val", val_sum)):
        assert hashlib.sha256("\n".join(parts[part]).encode()).hexdigest()[:16] == expected
    if name == "dsprites":
        assert parts["test"][:3] == ["493443", "195884", "225768"]
    if name == "smallnorb":
        assert parts["test"][:3] == ["299", "2838", "15595"]


DSPRITES = {
    ("loc", "train"): "54 42 45 45 48 54 49 48 62 51 50 60 50 47 53 42",
    ("ori", "train"): "59 43 67 50 53 45 58 43 61 38 52 42 56 35 57 41",
    ("loc", "val"): "14 11 12 9 12 8 13 15 7 14 13 8 16 13 16 19",
    ("ori", "val"): "15 13 8 8 15 10 15 8 18 10 23 8 11 5 21 12",
    ("loc", "test"): "4683 4612 4667 4629 4619 4676 4615 4589 4541 4657 4579 4656 4538 4549 4597 4521",
    ("ori", "test"): "5491 3700 5495 3702 5528 3616 5548 3647 5593 3726 5605 3705 5501 3782 5496 3593",
}


def test_dsprites_label_counts():
    """Its images lie in the order of the latents, so that labels follow from the index alone."""
    parts = _chosen("dsprites")
    for (task, part), counts in DSPRITES.items():
        index = np.array(parts[part], np.int64)
        if task == "loc":
            labels = dsprites_location(index // 32 % 32)
        else:
            labels = dsprites_orientation(index // (32 * 32) % 40)
        assert np.bincount(labels, minlength=16).tolist() == list(map(int, counts.split()))


def test_sun397_partition():
    keys = sun397_partition()
    assert {split: len(part) for split, part in keys.items()} == {
        "train": 76128,
        "validation": 10875,
        "test": 21750,
    }
    whole = [key for part in keys.values() for key in part]
    assert len(set(whole)) == len(whole)
    assert len({key.rpartition("/")[0] for key in whole}) == 397
    assert "/c/church/outdoor/sun_bhenjvsvrtumjuri.jpg" not in whole
    unreadable = "/t/track/outdoor/sun_aophkoiosslinihb.jpg"
    order = hash_order(keys["train"], "train")
    assert keys["train"][order[66481]] == unreadable or keys["train"][order[66480]] == unreadable


@pytest.mark.parametrize(
    ("name", "count", "val_start", "test_start"),
    [
        ("oxford_iiit_pet", 3680, 2944, None),
        ("eurosat", 27000, 16200, 21600),
        ("resisc45", 31500, 18900, 25200),
    ],
)
def test_where_slices_begin(name, count, val_start, test_start):
    assert CUTS[name].val.of(count).start == val_start
    if test_start is not None:
        assert CUTS[name].test.of(count) == range(test_start, count)


def test_fractions_are_rounded_down():
    assert Slice("train", Fraction(9, 10)).of(73257) == range(65931, 73257)


def test_numbers_are_hashed_as_text():
    assert hash_order([10, 9, 8], "train") == hash_order(["10", "9", "8"], "train")


def test_a_data_set_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"test: expected 9999 examples.*found 10000"):
        cut(CUTS["cifar100"], _keys("cifar100"), 800, 200, 9999)
    with pytest.raises(InputError, match=r"train: expected at least 800 examples.*found 90 "):
        cut(CUTS["cifar100"], _numbers(100, 10), 800, 200, 10)
