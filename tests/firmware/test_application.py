"""The application's tree is the same, whoever has checked the project out."""

import os

from firmware import application


def test_modes_do_not_depend_on_the_checkout(tmp_path):
    def checkout(umask):
        before = os.umask(umask)
        try:
            source = tmp_path / f"source-{umask}"
            (source / "deep").mkdir(parents=True)
            (source / "deep" / "module.py").write_text("")
            (source / "script").write_text("")
            (source / "script").chmod(0o777 & ~umask)
            (source / "link").symlink_to("script")
            (source / "left.pyc").write_text("")
            target = tmp_path / f"target-{umask}"
            target.mkdir()
            application.place(source, target, "*.pyc")
        finally:
            os.umask(before)
        return {
            path.relative_to(target).as_posix(): oct(path.lstat().st_mode)
            for path in (target, *target.rglob("*"))
        }

    found = checkout(0o077)
    assert found == checkout(0o002) == checkout(0o022)
    assert found["deep/module.py"] == "0o100644"
    assert found["script"] == "0o100755"
    assert found["deep"] == found["."] == "0o40755"
    assert "left.pyc" not in found
