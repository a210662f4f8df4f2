import base64
import io
import re

import pytest
from PIL import Image

from tests.data.trees import class_folders, small_vtab, write_task
from wst.data.check.contact_sheet import contact_sheet, samples
from wst.data.check.describe import describe
from wst.data.splits import TaskData, data_root
from wst.data.suites import find_suite
from wst.errors import InputError


@pytest.fixture
def own(tmp_path):
    of = find_suite(str(class_folders(tmp_path / "pets", {"cat": 12, "<b>dog": 5})))
    return TaskData.of(data_root(of, None), of, of.tasks[0])


def test_describe(tmp_path):
    of = small_vtab(["svhn", "dtd", "eurosat"])
    svhn, broken = of.task("svhn"), of.task("dtd")
    write_task(tmp_path, of, svhn)
    (write_task(tmp_path, of, broken) / "val200.txt").unlink()
    found = {row.task: row for row in describe([TaskData.of(tmp_path, of, t) for t in of.tasks])}
    assert (found["svhn"].train, found["svhn"].val, found["svhn"].test) == (24, 8, 12)
    assert (
        found["svhn"].data_hash == TaskData.of(tmp_path, of, svhn).hashes().all
        and found["svhn"].state == "ready"
    )
    assert found["svhn"].licence == "non-commercial use" and found["svhn"].class_names[3] == "3"
    assert found["eurosat"].state == "absent" and found["eurosat"].data_hash is None
    assert "val200.txt" in found["dtd"].state


def test_samples(own):
    classes = samples(own, per_class=4)
    assert [(c.name, c.total, len(c.images)) for c in classes] == [("0 <b>dog", 3, 3), ("1 cat", 8, 4)]
    assert all(image.parent.name == "cat" for image in classes[1].images)


def test_png_sheet(own, tmp_path):
    with Image.open(contact_sheet("pets", [own], tmp_path / "out" / "sheet.png", per_class=2)) as sheet:
        colours = sheet.convert("RGB").getcolors(1 << 24)
    assert len(colours) > 100 and max(colours)[1] == (255, 255, 255)


def test_html_sheet(own, tmp_path):
    page = contact_sheet("<pets>", [own], tmp_path / "sheet.html", per_class=2).read_text()
    assert (
        "<b>dog" not in page and "&lt;b&gt;dog" in page and "<title>&lt;pets&gt;" in page
    )  # names cannot inject anything
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(images) == 4 and not re.search(r'(src|href)="(?!data:)', page)  # no other file is needed
    with Image.open(io.BytesIO(base64.b64decode(images[0]))) as tile:
        assert tile.size == (72, 72)


def test_another_ending(own, tmp_path):
    with pytest.raises(InputError, match="--sheet: expected a file that ends in"):
        contact_sheet("pets", [own], tmp_path / "sheet.gif")
