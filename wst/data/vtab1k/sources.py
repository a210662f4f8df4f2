"""Where the images of VTAB-1K come from: the archives of its 16 data sets and their checksums.

Sizes and SHA-256 sums are those that TensorFlow Datasets records for the files; they are public facts about
the files.  Licence notes say in short what the sources state; the source's own page decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """A file (or folder) that the user downloads.

    Attributes:
        name: file name below the data set's folder of archives; a folder's name ends in ``/``.
        url: where it is, or the page where it can be asked for.
        size: bytes, or None where no size is known.
        sha256: hexadecimal sum, or None where none is known.
        direct: ``url`` gives the file itself, without an account or a form.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    direct: bool = True

    @property
    def is_folder(self) -> bool:
        """Whether a folder is expected."""
        return self.name.endswith("/")


@dataclass(frozen=True)
class Source:
    """One data set.

    Attributes:
        name: name in TensorFlow Datasets.
        archives: what has to be downloaded.
        note: what the user must know before building.
        lossy: the archive itself holds JPEGs.
    """

    name: str
    archives: tuple[Archive, ...]
    note: str = ""
    lossy: bool = False


_FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_PETS = "https://thor.robots.ox.ac.uk/~vgg/data/pets/"
_SVHN = "http://ufldl.stanford.edu/housenumbers/"
_PCAM = "https://zenodo.org/record/2546921/files/camelyonpatch_level_2_split_"
_KITTI = "https://s3.eu-central-1.amazonaws.com/avg-kitti/"
_NORB = "https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/"
_NORB_TRAIN = "smallnorb-5x46789x9x18x6x2x96x96-training-"
_NORB_TEST = "smallnorb-5x01235x9x18x6x2x96x96-testing-"
_KAGGLE = "https://www.kaggle.com/c/diabetic-retinopathy-detection/data"


def _pcam(part: str, size: int, sha256: str) -> Archive:
    return Archive(f"camelyonpatch_level_2_split_{part}.h5.gz", f"{_PCAM}{part}.h5.gz", size, sha256)


def _norb(name: str, size: int, sha256: str) -> Archive:
    return Archive(f"{name}.mat.gz", f"{_NORB}{name}.mat.gz", size, sha256)


_ALL = (
    Source(
        "caltech101",
        (
            Archive(
                "caltech-101.zip",
                "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip?download=1",
                137_414_764,
                "331234750fc7f77520e50d9565e8b6907b03565e30320da1401130db08c61f91",
            ),
        ),
        "Its draw of 30 training images a class depended on the file system it was made on and cannot be "
        "recomputed: give the split with --manifest FILE, or adopt an export with --from-folder DIR.",
        lossy=True,
    ),
    Source(
        "cifar100",
        (
            Archive(
                "cifar-100-binary.tar.gz",
                "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                168_513_733,
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            ),
        ),
    ),
    Source(
        "dtd",
        (
            Archive(
                "dtd-r1.0.1.tar.gz",
                "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
                625_239_812,
                "e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
            ),
        ),
        lossy=True,
    ),
    Source(
        "oxford_flowers102",
        (
            Archive(
                "102flowers.tgz",
                f"{_FLOWERS}102flowers.tgz",
                344_862_509,
                "2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
            ),
            Archive(
                "imagelabels.mat",
                f"{_FLOWERS}imagelabels.mat",
                502,
                "4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
            ),
            Archive(
                "setid.mat",
                f"{_FLOWERS}setid.mat",
                14_989,
                "46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
            ),
        ),
        lossy=True,
    ),
    Source(
        "oxford_iiit_pet",
        (
            Archive(
                "images.tar.gz",
                f"{_PETS}images.tar.gz",
                791_918_971,
                "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
            ),
            Archive(
                "annotations.tar.gz",
                f"{_PETS}annotations.tar.gz",
                19_173_078,
                "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
            ),
        ),
        "A dozen files are PNG, GIF or damaged JPEG under a .jpg name; they are decoded as they are.",
        lossy=True,
    ),
    Source(
        "svhn_cropped",
        (
            Archive(
                "train_32x32.mat",
                f"{_SVHN}train_32x32.mat",
                182_040_794,
                "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
            ),
            Archive(
                "test_32x32.mat",
                f"{_SVHN}test_32x32.mat",
                64_275_384,
                "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
            ),
        ),
    ),
    Source(
        "sun397",
        (
            Archive(
                "SUN397.tar.gz",
                "https://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
                39_077_296_924,
                "f404130965a7ad77bed5ececc71e720ab50f3cc1e1bb257257610d38f3b928ec",
            ),
        ),
        "The partition is TensorFlow Datasets' own and comes with this package.  Pictures of more than "
        "120,000 pixels are shrunk and saved as JPEG of quality 95 on the way, as TensorFlow Datasets does.",
        lossy=True,
    ),
    Source(
        "patch_camelyon",
        (
            _pcam(
                "train_x", 6_421_353_462, "d619e741468a7ab35c7e4a75e6821b7e7e6c9411705d45708f2a0efc8960656c"
            ),
            _pcam("train_y", 21_378, "b74126d2c01b20d3661f9b46765d29cf4e4fba6faba29c8e0d09d406331ab75a"),
            _pcam("valid_x", 805_965_320, "f82ee1670d027b4ec388048d9eabc2186b77c009655dae76d624c0ecb053ccb2"),
            _pcam("valid_y", 3_038, "ce1ae30f08feb468447971cfd0472e7becd0ad96d877c64120c72571439ae48c"),
            _pcam("test_x", 800_875_929, "79174c2201ad521602a5888be8f36ee10875f37403dd3f2086caf2182ef87245"),
            _pcam("test_y", 3_040, "0a522005fccc8bbd04c5a117bfaf81d8da2676f03a29d7499f71d0a0bd6068ef"),
        ),
        "Needs 9 GB of free space beside the archives while it is built.",
    ),
    Source(
        "eurosat",
        (
            Archive(
                "EuroSAT.zip",
                "http://madm.dfki.de/files/sentinel/EuroSAT.zip",
                94_280_567,
                "8ebea626349354c5328b142b96d0430e647051f26efc2dc974c843f25ecf70bd",
            ),
        ),
        lossy=True,
    ),
    Source(
        "resisc45",
        (
            Archive(
                "NWPU-RESISC45/",
                "http://www.escience.cn/people/JunweiHan/NWPU-RESISC45.html",
                direct=False,
            ),
        ),
        "Unpack NWPU-RESISC45.rar, so that NWPU-RESISC45/<class>/<class>_001.jpg is there.",
        lossy=True,
    ),
    Source(
        "diabetic_retinopathy_detection",
        (
            Archive("train/", _KAGGLE, direct=False),
            Archive("test/", _KAGGLE, direct=False),
            Archive("trainLabels.csv", _KAGGLE, direct=False),
            Archive(
                "retinopathy_solution.csv",
                "https://storage.googleapis.com/kaggle-forum-message-attachments/90528/2877/"
                "retinopathy_solution.csv",
                1_181_257,
                "a6af3d66804e81887da89b9261bcfb7da4f5bacedb070f1b5db83fa879ab60c9",
            ),
        ),
        "Join and unpack all parts of train.zip and test.zip, so that train/10_left.jpeg is there.  "
        "Images are processed as btgraham-300 and saved as JPEG of quality 72 on the way, as there.",
        lossy=True,
    ),
    Source(
        "clevr",
        (
            Archive(
                "CLEVR_v1.0.zip",
                "https://dl.fbaipublicfiles.com/clevr/CLEVR_v1.0.zip",
                19_021_600_724,
                "5cd61cf1096ed20944df93c9adb31e74d189b8459a94f54ba00090e5c59936d1",
            ),
        ),
    ),
    Source(
        "dmlab",
        (
            Archive(
                "dmlab.tar.gz",
                "https://storage.googleapis.com/dmlab-vtab/dmlab.tar.gz",
                3_017_022_789,
                "638b18fa69a5d61bbc310cd0b87ac603a39f41de0fdb07b6e77de274a24480a4",
            ),
        ),
        lossy=True,
    ),
    Source(
        "kitti",
        (
            Archive(
                "data_object_image_2.zip",
                f"{_KITTI}data_object_image_2.zip",
                12_569_945_557,
                "351c5a2aa0cd9238b50174a3a62b846bc5855da256b82a196431d60ff8d43617",
            ),
            Archive(
                "data_object_label_2.zip",
                f"{_KITTI}data_object_label_2.zip",
                5_601_213,
                "4efc76220d867e1c31bb980bbf8cbc02599f02a9cb4350effa98dbb04aaed880",
            ),
            Archive(
                "devkit_object.zip",
                f"{_KITTI}devkit_object.zip",
                63_794,
                "ce0b76b69c0c5f89690a0d65b7302bbbdb962a0c7e8aba6efc7050d1b04b4cf1",
            ),
        ),
    ),
    Source(
        "dsprites",
        (
            Archive(
                "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.hdf5",
                "https://github.com/deepmind/dsprites-dataset/blob/master/"
                "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.hdf5?raw=true",
                28_024_106,
                "729fa22e884c9c500e1f17415d580746b4c5894fbbb780a1319bbcfa39a745bb",
            ),
        ),
    ),
    Source(
        "smallnorb",
        (
            _norb(
                f"{_NORB_TRAIN}dat",
                131_896_188,
                "5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873",
            ),
            _norb(
                f"{_NORB_TRAIN}info",
                71_052,
                "de7eb932ebe7a4ee16217fead60660d0eb3d23632c2f4d1c51f88c501c17bf32",
            ),
            _norb(
                f"{_NORB_TEST}dat",
                130_799_817,
                "cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474",
            ),
            _norb(
                f"{_NORB_TEST}info",
                10_428,
                "16adf314226327ee006d1a44db8cfef52773c06c829951d5653a9f6f310248a2",
            ),
        ),
        "Validation and test images both come from the official test set, by VTAB's definition.",
    ),
)

SOURCES: Mapping[str, Source] = {source.name: source for source in _ALL}
"""Data sets by their name in TensorFlow Datasets, in VTAB-1K's order."""
