"""The lab after the story, for a person to look around: `lab/qemu/run --lab NAME ...`, or lab/xen/run, works on it."""

import os
import socket

from lab.common import paths
from lab.common.server import socket_path
from lab.demo.scene import Scene
from lab.demo.screen import Screen


def keep_up(scene: Scene, lab, guests: dict, screen: Screen) -> None:
    """Serves the lab until Ctrl-C, or until it is told `down`."""
    screen.step("The lab stays up. To look at it, as root, in another terminal:")
    screen.say(f"cd {paths.ROOT}; export REMUS_BUILD={paths.build()}")
    for words, what in (
        ("exec B remus status web1", "the guest on host B"),
        *scene.look_around(),
        ("exec B", "a shell on host B"),
        ("boot A", "host A again"),
        ("remusd A", "... with its daemon"),
        ("exec B remus protect web1 --to hostA", "the other way round"),
        ("down", "ends everything, as Ctrl-C here does"),
    ):
        command = f"{scene.runner} --lab {lab.name} {words}"
        screen.say(f"{command:64} {screen.dim('# ' + what)}")
    path = socket_path(lab.name)
    with socket.socket(socket.AF_UNIX) as listener:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        os.chmod(path, 0o600)
        listener.listen(8)
        try:
            scene.server(lab, guests).serve(listener)
        except KeyboardInterrupt:
            pass
        finally:
            path.unlink(missing_ok=True)
