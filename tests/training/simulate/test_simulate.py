"""The simulator: its interface, its figures, and that no label leaks without signal."""

from __future__ import annotations

import csv
import hashlib
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score

from train.export.model_folder import golden_crops
from train.simulate import CHANNELS, Cell, simulate_cells, write_export
from train.simulate.anatomy import (
    Anatomy,
    draw_anatomy,
    draw_apoptotic,
    draw_dead,
    draw_fragment,
)
from train.simulate.camera import expose
from train.simulate.hospital import draw_hospital, draw_sample
from train.simulate.maps import Maps
from train.simulate.optics import Microscope
from train.simulate.populations import BLAST, CARCINOMA, LEUKOCYTES, TUMOURS
from train.simulate.scene import CELL_KINDS, NEGATIVE_FRACTION, draw_scene, retained

SEED = 20
SHIPPED = Path(__file__).parents[3] / "models" / "sim-resnet18"
DRAWN_SHA256 = "ec9e9ba416e62e189a214af17595a28565bbc334ee308e463b36d41646d8d0e3"


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return list(simulate_cells(hospitals=6, samples=2, cells=25, seed=SEED, channels=("BF",)))


def by_place(cells: list[Cell]) -> dict[tuple[str, str], Cell]:
    return {(cell.sample, cell.cell): cell for cell in cells}


def same_pixels(one: Cell, other: Cell, channel: str) -> bool:
    a, b = one.images[channel], other.images[channel]
    return a.dtype == b.dtype and np.array_equal(a, b)


def test_cells_come_hospital_by_hospital_with_unique_names(cells: list[Cell]) -> None:
    assert len(cells) == 6 * 2 * 25
    assert [cell.hospital for cell in cells] == sorted(cell.hospital for cell in cells)
    assert len(by_place(cells)) == len(cells)
    assert cells[0].hospital == "h00"
    assert cells[0].sample == "h00s00"
    assert [cell.cell for cell in cells[:2]] == ["00000", "00001"]


def test_a_cell_depends_on_its_indices_alone(cells: list[Cell]) -> None:
    few = list(simulate_cells(hospitals=2, samples=1, cells=3, seed=SEED, channels=("BF",)))
    all_cells = by_place(cells)
    for cell in few:
        other = all_cells[cell.sample, cell.cell]
        assert (cell.label, cell.kind, cell.diameter_um) == (
            other.label,
            other.kind,
            other.diameter_um,
        )
        assert same_pixels(cell, other, "BF")


def test_more_channels_change_no_other(cells: list[Cell]) -> None:
    full = list(simulate_cells(hospitals=2, samples=1, cells=6, seed=SEED))
    dapi = list(simulate_cells(hospitals=2, samples=1, cells=6, seed=SEED, channels=("DAPI",)))
    all_cells = by_place(cells)
    for one, other in zip(full, dapi, strict=True):
        assert tuple(one.images) == CHANNELS
        assert len({image.shape for image in one.images.values()}) == 1
        assert same_pixels(one, other, "DAPI")
        assert same_pixels(one, all_cells[one.sample, one.cell], "BF")


def test_workers_change_nothing(cells: list[Cell]) -> None:
    pooled = list(
        simulate_cells(hospitals=3, samples=1, cells=2, seed=SEED, channels=("BF",), workers=2)
    )
    assert [cell.sample for cell in pooled] == ["h00s00"] * 2 + ["h01s00"] * 2 + ["h02s00"] * 2
    assert all(same_pixels(cell, by_place(cells)[cell.sample, cell.cell], "BF") for cell in pooled)


def test_seeds_differ(cells: list[Cell]) -> None:
    other = next(simulate_cells(hospitals=1, samples=1, cells=1, seed=SEED + 1))
    assert not same_pixels(cells[0], other, "BF")


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="FITC"):
        simulate_cells(hospitals=1, samples=1, cells=1, seed=0, channels=("BF", "FITC"))
    with pytest.raises(ValueError, match="ctc_fraction"):
        simulate_cells(hospitals=1, samples=1, cells=1, seed=0, ctc_fraction=40)


def test_labels_and_kinds_fit_each_other() -> None:
    cells = simulate_cells(hospitals=10, samples=1, cells=30, seed=SEED, channels=())
    kinds = Counter((cell.kind, cell.label) for cell in cells)
    for kind in CELL_KINDS:
        assert kinds[kind, "CTC"] and kinds[kind, "leukocyte"]
    for kind in NEGATIVE_FRACTION:
        assert kinds[kind, kind]
    assert len(kinds) == 2 * len(CELL_KINDS) + len(NEGATIVE_FRACTION)


def test_ctc_fraction() -> None:
    for share in (0.0, 0.25, 1.0):
        drawn = simulate_cells(
            hospitals=2, samples=5, cells=60, seed=SEED, ctc_fraction=share, channels=()
        )
        labels = Counter(cell.label for cell in drawn)
        called = labels["CTC"] + labels["leukocyte"]
        assert labels["CTC"] / called == pytest.approx(share, abs=0.06)


def test_median_diameters_are_those_published() -> None:
    rng = np.random.default_rng(0)
    for tumour, median in {
        "breast": 12.4,
        "prostate": 10.3,
        "colorectal": 7.5,
        "bladder": 8.6,
    }.items():
        drawn = [draw_anatomy(rng, TUMOURS[tumour]).diameter for _ in range(500)]
        assert np.median(drawn) == pytest.approx(median, rel=0.05)
    cultured = [draw_anatomy(rng, TUMOURS["cultured"]).diameter for _ in range(300)]
    assert 15 < np.quantile(cultured, 0.1) < np.quantile(cultured, 0.9) < 21
    leukocytes = np.concatenate(
        [
            [draw_anatomy(rng, population).diameter for _ in range(round(1500 * share))]
            for population, share in LEUKOCYTES
        ]
    )
    assert np.median(leukocytes) == pytest.approx(9.4, rel=0.05)
    assert 0.03 < np.mean(leukocytes > 12) < 0.2


def test_enrichment_loses_what_passes_its_gap() -> None:
    assert retained(6.5) < 0.15
    assert retained(7.5) == 0.5
    assert retained(9.0) > 0.9
    drawn = [
        cell
        for cell in simulate_cells(hospitals=6, samples=8, cells=50, seed=SEED, channels=())
        if cell.kind == "single"
    ]
    diameter = np.array([cell.diameter_um for cell in drawn])
    is_ctc = np.array([cell.label == "CTC" for cell in drawn])
    # Apoptotic leukocytes have shrunk after they were retained.
    assert np.mean(diameter[is_ctc] < 6.5) < 0.02 < np.mean(diameter[~is_ctc] < 6.5) < 0.08
    assert np.mean((diameter > 7) & (diameter < 8)) > 0.05


def test_size_alone_says_little() -> None:
    drawn = [
        cell
        for cell in simulate_cells(hospitals=6, samples=5, cells=50, seed=SEED, channels=())
        if cell.label in ("CTC", "leukocyte")
    ]
    size = roc_auc_score([cell.label == "CTC" for cell in drawn], [c.diameter_um for c in drawn])
    assert 0.55 < size < 0.70


def test_no_trait_alone_tells_carcinoma_cells_from_leukocytes() -> None:
    """Round, smooth carcinoma cells and irregular, granular leukocytes are there to be learnt."""
    rng = np.random.default_rng(0)
    populations, shares = zip(*LEUKOCYTES, strict=True)
    drawn = [draw_anatomy(rng, populations[rng.choice(len(shares), p=shares)]) for _ in range(500)]
    drawn += [draw_anatomy(rng, CARCINOMA) for _ in range(500)]
    is_carcinoma = np.arange(len(drawn)) >= 500
    traits: dict[str, tuple[Callable[[Anatomy], float], float, float]] = {
        "outline": (lambda cell: float(np.abs(cell.body.outline).sum()), 0.6, 0.9),
        "elongation": (lambda cell: cell.body.elongation, 0.6, 0.9),
        "blebs": (lambda cell: len(cell.blebs), 0.6, 0.9),
        "index": (lambda cell: cell.index, 0.6, 0.9),
        "granules": (lambda cell: len(cell.granules), 0.3, 0.7),
        "granule": (lambda cell: cell.granule, 0.6, 0.9),
        "chromatin": (lambda cell: cell.chromatin, 0.6, 0.95),
        "nucleoli": (lambda cell: len(cell.nucleoli), 0.6, 0.95),
    }
    for name, (of, least, most) in traits.items():
        area = roc_auc_score(is_carcinoma, [of(cell) for cell in drawn])
        assert least < area < most, f"{name}: {area:.3f}"


def test_the_dead_shrink_or_leak() -> None:
    rng = np.random.default_rng(0)
    alive = draw_anatomy(rng, CARCINOMA)
    dead = [draw_dead(rng, alive) for _ in range(100)]
    shrunken = [cell for cell in dead if cell.diameter < alive.diameter]
    leaky = [cell for cell in dead if cell.diameter == alive.diameter]
    assert 50 < len(shrunken) < 90
    assert min(cell.index for cell in shrunken) >= alive.index > max(cell.index for cell in leaky)
    for cell in dead:
        assert all(np.hypot(*cell.granules[:, :2].T) <= cell.body.radius)


def test_leukocytes_may_be_oval_and_smooth_at_once() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_anatomy(rng, replace(BLAST, tailed=0.0)).body for _ in range(400)]
    oval = [body for body in drawn if 1.12 < body.elongation < 1.4]
    smooth = [body for body in oval if np.abs(body.outline).sum() < 0.12]
    assert len(smooth) > 0.3 * len(drawn)


def test_a_tail_is_a_point_or_a_tuft_on_one_side() -> None:
    rng = np.random.default_rng(0)
    plain = replace(BLAST, roughness=(0.0, 0.0), deformed=0.0, blebs=0.0, tailed=1.0)
    drawn = [draw_anatomy(rng, plain) for _ in range(100)]
    pointed = [cell.body.outline for cell in drawn if np.abs(cell.body.outline).max() > 0.01]
    tufts = [cell for cell in drawn if len(cell.blebs)]
    assert len(pointed) + len(tufts) == len(drawn)
    assert 40 < len(pointed) < 80
    turns = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    for outline in pointed:
        reach = (outline[:, None] * np.exp(1j * np.arange(2, 7)[:, None] * turns)).sum(0).real
        assert 0.14 < reach.max() < 0.51
        assert np.mean(reach > reach.max() / 2) < 0.25
    for cell in tufts:
        middle = np.hypot(*cell.blebs[:, :2].mean(0))
        assert middle > 0.6 * cell.body.radius
        assert cell.blebs[:, 2].max() < 0.25 * cell.body.radius


def test_the_apoptotic_shrink_into_smooth_lobes() -> None:
    rng = np.random.default_rng(0)
    alive = draw_anatomy(rng, BLAST)
    drawn = [draw_apoptotic(rng, alive) for _ in range(100)]
    assert {len(cell.blebs) for cell in drawn} == {0, 1, 2, 3, 4}
    for cell in drawn:
        assert 0.5 < cell.diameter / alive.diameter < 0.95
        assert cell.index >= alive.index
        assert len(cell.nucleus) == len(alive.nucleus)
        assert all(np.hypot(*cell.blebs[:, :2].T) <= cell.body.radius)
        assert all(np.hypot(*cell.granules[:, :2].T) <= cell.body.radius)


def test_blasts_crowd_in_some_samples() -> None:
    shares = [draw_sample(SEED, hospital, 0).blasts for hospital in range(200)]
    ill = [share for share in shares if share]
    assert 40 < len(ill) < 80
    assert 0.4 <= min(ill) < 0.6 < 0.8 < max(ill) <= 1.0
    hospital, sample = draw_hospital(SEED, 0), draw_sample(SEED, 0, 0)
    median = {}
    for share in (0.0, 1.0):
        rng, given = np.random.default_rng(0), replace(sample, blasts=share)
        scenes = [draw_scene(rng, "single", False, hospital, given) for _ in range(200)]
        median[share] = np.median([scene.bodies[0].anatomy.diameter for scene in scenes])
    assert median[0.0] < 10.5 < 11 < median[1.0]


def test_debris_is_small_and_without_a_nucleus() -> None:
    rng = np.random.default_rng(0)
    pieces = [draw_fragment(rng) for _ in range(300)]
    assert not any(piece.nucleus for piece in pieces)
    assert np.quantile([piece.diameter for piece in pieces], 0.9) < 10
    assert {piece.absorption > 0.1 for piece in pieces} == {True, False}


def test_hospitals_span_what_instruments_write() -> None:
    hospitals = [draw_hospital(SEED, index) for index in range(60)]
    assert {hospital.bits for hospital in hospitals} == {8, 12, 16}
    assert {hospital.suffix for hospital in hospitals} == {".png", ".tif"}
    assert {hospital.reflected for hospital in hospitals} == {True, False}
    assert {hospital.electrodes is None for hospital in hospitals} == {True, False}
    pitches = [hospital.um_per_px for hospital in hospitals]
    assert 0.25 <= min(pitches) < 0.35
    assert 0.7 < max(pitches) <= 0.8
    assert all(32 <= hospital.crop_px <= 110 for hospital in hospitals)


def test_pixels_fit_the_bit_depth(cells: list[Cell]) -> None:
    for cell in cells:
        hospital = draw_hospital(SEED, int(cell.hospital[1:]))
        image = cell.images["BF"]
        assert image.dtype == (np.uint8 if hospital.bits == 8 else np.uint16)
        assert image.max() <= 2**hospital.bits - 1
        assert max(image.shape) == hospital.crop_px
        assert image.shape == (hospital.crop_px,) * 2 or cell.kind == "cut"
        assert min(image.shape) > 0


def test_a_cell_shows_against_the_background() -> None:
    """Phase alone gives contrast out of focus, and almost none in focus."""
    hospital = next(
        hospital
        for hospital in (draw_hospital(SEED, index) for index in range(50))
        if hospital.electrodes is None and not hospital.reflected
    )
    scope = Microscope(hospital)
    axis = (np.arange(scope.size) - scope.size / 2) * scope.pitch_um
    ball = 10 * np.sqrt(np.maximum(0, 1 - (axis[:, None] ** 2 + axis**2) / 25))
    path = (0.01 * ball).astype(np.float32)
    nothing = np.zeros_like(path)
    maps = Maps(path, nothing, 0.0, nothing, {})
    empty = Maps(nothing, nothing, 0.0, nothing, {})
    spread = {
        focus: float(scope.bright_field(maps, focus, (0, 0)).std()) for focus in (-8.0, 0.0, 8.0)
    }
    assert spread[0.0] < min(spread[-8.0], spread[8.0])
    np.testing.assert_allclose(scope.bright_field(empty, 5.0, (0, 0)), 1.0, atol=1e-4)


def test_noise_is_shot_noise() -> None:
    hospital = next(
        hospital
        for hospital in (draw_hospital(SEED, index) for index in range(50))
        if hospital.bits == 16 and hospital.noise_blur_px == 0
    )
    light = np.ones((200, 200), np.float32)
    pixels = expose(np.random.default_rng(0), light, hospital, level=0.5, electrons=1000.0)
    signal = pixels / hospital.full_scale - hospital.black
    expected = 0.5 * np.sqrt(1 / 1000 + (hospital.read_noise / 1000) ** 2)
    assert signal.mean() == pytest.approx(0.5, rel=0.01)
    assert signal.std() == pytest.approx(expected, rel=0.05)


def test_without_signal_no_picture_knows_its_label() -> None:
    """Turning every label over leaves bright field and DAPI as they were, bit for bit."""
    ctcs, leukocytes = (
        list(
            simulate_cells(
                hospitals=4,
                samples=2,
                cells=10,
                seed=SEED,
                signal=False,
                ctc_fraction=share,
                channels=("BF", "DAPI"),
            )
        )
        for share in (1.0, 0.0)
    )
    assert {cell.label for cell in ctcs} == {"CTC"}
    assert {cell.label for cell in leukocytes} == {"leukocyte"}
    for one, other in zip(ctcs, leukocytes, strict=True):
        assert (one.kind, one.diameter_um) == (other.kind, other.diameter_um)
        assert same_pixels(one, other, "BF")
        assert same_pixels(one, other, "DAPI")


def test_without_signal_labels_are_independent_of_what_is_drawn() -> None:
    drawn = list(
        simulate_cells(hospitals=8, samples=5, cells=40, seed=3, signal=False, channels=())
    )
    is_ctc = np.array([cell.label == "CTC" for cell in drawn])
    diameter = np.array([cell.diameter_um for cell in drawn])
    assert ks_2samp(diameter[is_ctc], diameter[~is_ctc]).pvalue > 0.01
    share = is_ctc.mean()
    assert share == pytest.approx(0.4, abs=0.04)
    for of in ("kind", "hospital"):
        for value in {getattr(cell, of) for cell in drawn}:
            chosen = is_ctc[[getattr(cell, of) == value for cell in drawn]]
            assert abs(chosen.mean() - share) < 4 * np.sqrt(0.24 / len(chosen))


def test_with_signal_the_stains_follow_the_label() -> None:
    cells = simulate_cells(hospitals=3, samples=1, cells=40, seed=SEED, channels=("PE", "APC"))
    singles = [cell for cell in cells if cell.kind == "single"]
    ratio = [float(np.log(c.images["PE"].std() / c.images["APC"].std())) for c in singles]
    assert roc_auc_score([cell.label == "CTC" for cell in singles], ratio) > 0.95


def test_kinds_hold_what_their_names_say() -> None:
    hospital, sample = draw_hospital(SEED, 0), draw_sample(SEED, 0, 0)
    least = {"single": 1, "neighbour": 2, "doublet": 2, "cluster": 3, "dead": 1, "cut": 1}
    for kind, number in least.items():
        scene = draw_scene(np.random.default_rng(1), kind, True, hospital, sample)
        assert sum(bool(body.anatomy.nucleus) for body in scene.bodies) >= number
    for kind in NEGATIVE_FRACTION:
        scene = draw_scene(np.random.default_rng(1), kind, True, hospital, sample)
        assert not any(body.anatomy.nucleus for body in scene.bodies)


def test_export_on_disk(tmp_path: Path) -> None:
    cells = list(simulate_cells(hospitals=3, samples=2, cells=3, seed=SEED))
    seen: list[str] = []
    written = write_export(tmp_path, iter(cells), progress=lambda cell: seen.append(cell.cell))
    assert written == len(cells) == len(seen)
    by_hospital = {cell.hospital: cell for cell in cells}
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted(by_hospital)
    for hospital, cell in by_hospital.items():
        settings = tomllib.loads((tmp_path / hospital / "ctcedge.toml").read_text())
        assert settings["images"]["um_per_px"] == pytest.approx(cell.um_per_px, abs=1e-4)
        with (tmp_path / hospital / "labels.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == ["sample", "cell", "label", "kind", "diameter_um", "um_per_px"]
        assert len(rows) == 6
    for cell in cells:
        for channel, image in cell.images.items():
            path = tmp_path / cell.hospital / cell.sample / f"{cell.cell}_{channel}{cell.suffix}"
            read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert read is not None
            assert read.dtype == image.dtype
            assert np.array_equal(read, image)


def test_export_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "h00").mkdir()
    with pytest.raises(FileExistsError):
        write_export(tmp_path, simulate_cells(hospitals=1, samples=1, cells=1, seed=SEED))


def test_a_seed_gives_the_cells_that_it_has_always_given() -> None:
    """Labels, kinds, diameters and shapes of the simulator that made the shipped model."""
    digest = hashlib.sha256()
    for cell in simulate_cells(hospitals=8, samples=2, cells=6, seed=7, channels=("BF",)):
        pixels = cell.images["BF"]
        line = f"{cell.sample}/{cell.cell} {cell.label} {cell.kind} {cell.diameter_um:.4f}"
        digest.update(f"{line} {pixels.shape} {pixels.dtype}\n".encode())
    assert digest.hexdigest() == DRAWN_SHA256


def test_a_seed_gives_the_pixels_that_it_has_always_given() -> None:
    """The golden crops of the shipped model 0.6.0, up to the rounding of another CPU."""
    with np.load(SHIPPED / "golden.npz") as golden:
        expected, um_per_px = golden["crops"], golden["um_per_px"]
    crops, pitches = golden_crops(seed=4)
    difference = np.abs(crops.astype(int) - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.001
    assert pitches == pytest.approx(um_per_px, abs=1e-12)
