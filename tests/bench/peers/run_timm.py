"""A plain timm classification loop: `run_timm.py CROPS COUNT WORKERS`, in timm's environment."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from PIL import Image
from steady import report
from torch.utils.data import DataLoader, Dataset

SIZE = 96
BATCH = 64
THREADS = 2


class Crops(Dataset):
    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.transform = timm.data.create_transform((1, SIZE, SIZE), mean=(0.5,), std=(0.5,))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[index]).convert("L"))


@torch.inference_mode()
def classified(paths: list[Path], workers: int) -> Iterator[int]:
    model = timm.create_model("resnet18", in_chans=1, num_classes=1).eval()
    # Persistent, so that their end is not timed.
    loader = DataLoader(Crops(paths), BATCH, num_workers=workers, persistent_workers=workers > 0)
    model(next(iter(loader)))
    calls: list[float] = []
    for batch in loader:
        calls += model(batch).sigmoid().squeeze(1).tolist()
        yield len(batch)


def main() -> None:
    folder, count, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(THREADS)
    paths = list(itertools.islice(sorted(folder.glob("**/*.png")), count))
    report(
        classified(paths, workers),
        versions=f"timm {timm.__version__}, PyTorch {torch.__version__}",
    )


if __name__ == "__main__":
    main()
