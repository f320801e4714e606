"""Files that a real SMB client writes into the watched folder of a file server."""

from __future__ import annotations

from pathlib import Path

from tests.fault.samba import shared
from tests.fault.service import Service, image


def test_files_that_a_smb_client_writes(service: Service, tmp_path: Path) -> None:
    """At once, half and then whole, under another name first, rewritten, renamed and deleted."""
    local = tmp_path / "local"
    local.mkdir()
    for number in range(8):
        (local / f"{number}.tif").write_bytes(image(number, suffix=".tif"))
    whole = (local / "4.tif").read_bytes()
    (local / "part").write_bytes(whole[: len(whole) // 2])

    def put(number: int, name: str) -> str:
        return f'put "{local}/{number}.tif" "{name}"'

    with shared(service.folder, tmp_path / "samba") as share, service.watching() as running:
        share.do("mkdir S", *(put(number, rf"S\{number}_BF.tif") for number in range(3)))
        share.do(put(3, r"S\3.part"), r'rename "S\3.part" "S\3_BF.tif"')
        share.do(f'put "{local}/part" "S\\4_BF.tif"')
        service.wait_for_unchanged_files(running)
        assert service.record("S/4_BF.tif") is None
        share.do(put(4, r"S\4_BF.tif"))
        service.wait_until_done(running)
        before = service.record("S/1_BF.tif")
        assert before is not None
        share.do(put(5, r"S\1_BF.tif"), r'rename "S" "T"', r'del "T\2_BF.tif"')
        service.wait_until_done(running)
        share.do("mkdir U", put(6, r"U\6_BF.tif"), r'del "U\6_BF.tif"', put(7, r"U\7_BF.tif"))
        service.wait_until_done(running)
        assert service.record("T/2_BF.tif") is None or not (service.folder / "T/2_BF.tif").exists()
        service.stop(running)
    names = {str(path.relative_to(service.folder)) for path in service.folder.rglob("*.tif")}
    assert names == {f"T/{number}_BF.tif" for number in (0, 1, 3, 4)} | {"U/7_BF.tif"}
    for name in names:
        record = service.record(name)
        assert record is not None and record["status"] == "classified"
        assert record["history"] == [], f"{name} was called twice"
    service.check_after_restart()
