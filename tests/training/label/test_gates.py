"""Gates on simulated samples: 0, 3 and 30 CTCs among 5,000 cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from train.label.gates import GateError, gate
from train.label.stains import STAINS, measure_stains, nucleus_diameter
from train.simulate import simulate_cells

CELLS = 5000

pytestmark = pytest.mark.timeout(900)  # they take 20 s to simulate, more on a busy machine


def simulated(ctc_fraction: float, cells: int):
    return list(
        simulate_cells(
            hospitals=1, samples=1, cells=cells, ctc_fraction=ctc_fraction, seed=31, channels=STAINS
        )
    )


@pytest.fixture(scope="module")
def leukocytes():
    """5,000 crops without a CTC as their cell, and what was measured of each."""
    cells = simulated(0, CELLS)
    typical = np.nanmedian([nucleus_diameter(cell.images["DAPI"]) for cell in cells[:100]])
    return cells, [measure_stains(cell.images, typical) for cell in cells], typical


@pytest.fixture(scope="module")
def ctcs(leukocytes):
    """CTCs of the same sample."""
    cells = [cell for cell in simulated(1, 200) if cell.label == "CTC"]
    return [measure_stains(cell.images, leukocytes[2]) for cell in cells]


@pytest.fixture(scope="module")
def without_ctcs(leukocytes):
    return gate(leukocytes[1])


def share(chosen) -> float:
    return float(np.mean(chosen))


def levels(gated) -> list[float]:
    """The gates of cytokeratin and CD45 in grey levels."""
    ends = (gated.gates.cytokeratin, gated.gates.cd45)
    return [
        float(np.sinh(end.gate) * scale)
        for end, scale in zip(ends, gated.gates.scale[1:], strict=True)
    ]


def test_of_no_ctc_at_most_one_is_gated(without_ctcs):
    assert (without_ctcs.label == "CTC").sum() <= 1


@pytest.mark.parametrize("count", [3, 30])
def test_few_ctcs_are_found_among_5000(leukocytes, ctcs, count):
    found, lost = [], []
    for start in range(0, len(ctcs) - 30, 30):
        gated = gate(leukocytes[1][count:] + ctcs[start : start + count])
        assert (gated.label[:-count] == "CTC").sum() <= 1
        found += (gated.label[-count:] == "CTC").tolist()
        lost += (gated.label[-count:] == "other").tolist()
    assert share(found) >= 0.3
    assert share(lost) <= 0.1


def test_many_ctcs_do_not_move_the_gates(leukocytes, ctcs):
    few = 4 * len(ctcs)
    alone, mixed = gate(leukocytes[1][:few]), gate(leukocytes[1][:few] + ctcs)
    for before, after in zip(levels(alone), levels(mixed), strict=True):
        assert after == pytest.approx(before, rel=0.2)
    assert (mixed.label[:few] == "CTC").sum() <= 1
    assert share(mixed.label[few:] == "CTC") >= 0.25


def test_strata_follow_what_the_crops_show(leukocytes, without_ctcs):
    kind = np.array([cell.kind for cell in leukocytes[0]])
    stratum = without_ctcs.stratum
    assert share(stratum[np.isin(kind, ("debris", "empty"))] == "no-nucleus") >= 0.95
    assert share(stratum[kind == "single"] == "leukocyte") >= 0.85
    assert share(stratum[kind == "cluster"] == "cluster") >= 0.85
    assert share(stratum[kind == "doublet"] == "cluster") >= 0.6
    assert share(stratum[kind == "single"] == "cluster") <= 0.1
    assert set(without_ctcs.label[stratum == "near-gate"]) == {""}
    assert set(without_ctcs.label[stratum == "leukocyte"]) == {"other"}


def test_the_gain_of_the_camera_does_not_matter(leukocytes, without_ctcs):
    louder = [
        replace(
            cell,
            signal=tuple(16 * value for value in cell.signal),
            noise=tuple(16 * value for value in cell.noise),
        )
        for cell in leukocytes[1]
    ]
    assert (gate(louder).stratum == without_ctcs.stratum).all()


def test_cd45_that_shines_into_cytokeratin_makes_no_ctcs(leukocytes):
    leaking = [
        replace(cell, signal=(cell.signal[0], cell.signal[1] + cell.signal[2] / 5, cell.signal[2]))
        for cell in leukocytes[1]
    ]
    assert (gate(leaking).label == "CTC").sum() <= 1


def test_a_clump_is_never_called_a_ctc(leukocytes, ctcs):
    few = 4 * len(ctcs)
    gated = gate(leukocytes[1][:few] + ctcs)
    clumps = gated.label[gated.stratum == "cluster"]
    assert set(clumps) == {"", "other"}


def test_noise_alone_is_no_nucleus(leukocytes):
    """Noise that is strong beside the cells must not pass as nuclei and move the CD45 gate."""
    rng = np.random.default_rng(2)
    cells, typical = leukocytes[0][:600], leukocytes[2]
    level = 0.3 * np.median([cell.signal[0] for cell in leukocytes[1]])
    noisy = [
        {
            stain: np.clip(image + rng.normal(level, level, image.shape), 0, None).astype(np.uint16)
            for stain, image in cell.images.items()
        }
        for cell in cells
    ]
    gated = gate([measure_stains(images, typical) for images in noisy])
    empty = np.array([cell.kind == "empty" for cell in cells])
    assert share(gated.stratum[empty] == "no-nucleus") >= 0.9


def test_a_sample_of_few_cells_is_refused(leukocytes):
    with pytest.raises(GateError, match="single cells with a nucleus; 100 are needed"):
        gate(leukocytes[1][:110])
    for few in (0, 1, 99):
        with pytest.raises(GateError, match=f"only {few} cells with all stains"):
            gate(leukocytes[1][:few])


def test_a_sample_without_cd45_is_refused(leukocytes):
    rng = np.random.default_rng(1)
    blank = [
        replace(cell, signal=(*cell.signal[:2], float(rng.normal(0, cell.noise[2]))))
        for cell in leukocytes[1][:1000]
    ]
    with pytest.raises(GateError, match="no CD45"):
        gate(blank)


@pytest.mark.parametrize(("index", "shown"), [*enumerate(("nucleus", "cytokeratin", "CD45"))])
@pytest.mark.parametrize("level", [0.0, 500.0])
def test_a_stain_that_shows_nothing_is_named(leukocytes, index, shown, level):
    blank = []
    for cell in leukocytes[1][:300]:
        signal = list(cell.signal)
        signal[index] = level
        blank.append(replace(cell, signal=tuple(signal)))
    with pytest.raises(GateError, match=f"no {shown} signal"):
        gate(blank)


def test_leukocytes_may_be_black_in_cytokeratin(leukocytes, ctcs):
    black = [
        replace(cell, signal=(cell.signal[0], 0.0, cell.signal[2])) for cell in leukocytes[1][:900]
    ]
    gated = gate(black + ctcs)
    assert not (gated.label[: len(black)] == "CTC").any()
    assert share(gated.label[len(black) :] == "CTC") >= 0.25


def test_an_image_without_anything_is_measured_as_nothing():
    blank = np.full((40, 40), 100, np.uint16)
    assert np.isnan(nucleus_diameter(blank))
    measured = measure_stains(dict.fromkeys(STAINS, blank), 10.0)
    assert measured.signal == (0, 0, 0)
    assert not measured.saturated


def test_a_disk_is_measured_above_its_background():
    rows, columns = np.ogrid[:60, :110]
    disk = np.hypot(rows - 30, columns - 30)
    image = np.where(disk < 15, 300, 100).astype(np.uint16)
    assert nucleus_diameter(image) == pytest.approx(30, abs=1)
    measured = measure_stains(dict.fromkeys(STAINS, image), 15.0)
    assert measured.signal == pytest.approx((200, 200, 200), abs=5)
    assert measured.roundness == pytest.approx(1, abs=0.1)
    two = np.maximum(image, np.roll(image, 28, axis=1))
    beside = measure_stains(dict.fromkeys(STAINS, two), 15.0)
    assert beside.length > 1.5 * measured.length
    assert beside.roundness < 0.62
