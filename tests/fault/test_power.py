"""What a power cut may leave behind."""

from __future__ import annotations

from tests.fault.rule import torn_like
from tests.fault.service import Service, kill
from tests.helpers.support import sidecar

KINDS = 5


def torn(service: Service, names: list[str]) -> None:
    """Tear each sidecar in another way."""
    kinds = torn_like(sidecar(service.out / names[0]))
    assert len(kinds) == len(names) == KINDS
    for name, data in zip(names, kinds, strict=True):
        service.rule.tear(name, data)


def test_torn_and_empty_sidecars_are_written_again_at_the_start(service: Service) -> None:
    names = service.put_many(KINDS, "A/")
    service.put_many(20, "B/")
    with service.watching() as running:
        service.settles(running)
        kill(running)
    torn(service, names)
    assert sorted(service.rule.lacking()) == names
    service.keeps_the_rule_after_a_restart()


def test_torn_and_empty_sidecars_are_written_again_while_watching(service: Service) -> None:
    names = service.put_many(KINDS)
    with service.watching() as running:
        service.settles(running)
        torn(service, names)
        service.settles(running)
        service.ends(running)
    service.keeps_the_rule_after_a_restart()


def test_leftover_temporary_files_are_swept(service: Service) -> None:
    service.put_many(3, "deep/er/")
    with service.watching() as running:
        service.settles(running)
        kill(running)
    dead = running.popen.pid
    for place in (service.out, service.out / "deep", service.out / "deep" / "er"):
        for number, data in enumerate((b"", b"{", b"\0" * 4096)):
            (place / f".ctcedge-{dead}-{number}.tmp").write_bytes(data)
    assert len(service.rule.strays()) == 9
    service.keeps_the_rule_after_a_restart()


def test_a_lost_output_folder_is_written_again(service: Service) -> None:
    """A cut may also undo the making of folders."""
    service.put_many(3, "deep/er/")
    with service.watching() as running:
        service.settles(running)
        kill(running)
    service.out.rename(service.root / "lost")
    service.rule.forget()
    service.keeps_the_rule_after_a_restart()
