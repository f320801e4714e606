"""Files as a power cut may leave them."""

from __future__ import annotations

from tests.fault.invariant import torn_versions
from tests.fault.service import Service, kill
from tests.helpers.sidecar_files import sidecar

KINDS = 5


def torn(service: Service, names: list[str]) -> None:
    """Damage each sidecar in another way."""
    kinds = torn_versions(sidecar(service.out / names[0]))
    assert len(kinds) == len(names) == KINDS
    for name, data in zip(names, kinds, strict=True):
        service.invariant.tear(name, data)


def test_torn_and_empty_sidecars_are_written_again_at_the_start(service: Service) -> None:
    names = service.put_many(KINDS, "A/")
    service.put_many(20, "B/")
    with service.watching() as running:
        service.wait_until_done(running)
        kill(running)
    torn(service, names)
    assert sorted(service.invariant.missing()) == names
    service.check_after_restart()


def test_torn_and_empty_sidecars_are_written_again_while_watching(service: Service) -> None:
    names = service.put_many(KINDS)
    with service.watching() as running:
        service.wait_until_done(running)
        torn(service, names)
        service.wait_until_done(running)
        service.stop(running)
    service.check_after_restart()


def test_leftover_temporary_files_are_removed(service: Service) -> None:
    service.put_many(3, "deep/er/")
    with service.watching() as running:
        service.wait_until_done(running)
        kill(running)
    dead = running.popen.pid
    for place in (service.out, service.out / "deep", service.out / "deep" / "er"):
        for number, data in enumerate((b"", b"{", b"\0" * 4096)):
            (place / f".ctcedge-{dead}-{number}.tmp").write_bytes(data)
    assert len(service.invariant.leftovers()) == 9
    service.check_after_restart()


def test_a_lost_output_folder_is_written_again(service: Service) -> None:
    """A power cut may also undo the creation of folders."""
    service.put_many(3, "deep/er/")
    with service.watching() as running:
        service.wait_until_done(running)
        kill(running)
    service.out.rename(service.root / "lost")
    service.invariant.forget()
    service.check_after_restart()
