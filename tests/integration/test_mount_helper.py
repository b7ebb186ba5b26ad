# SPDX-License-Identifier: Apache-2.0
"""skyvol-mount as mount(8) calls it: the helper's flags, fstab's options, and `make install`."""
import os
import re
import signal
import socket
import subprocess

import pytest
from conftest import ROOT, free_port, mounts_below, program, wait_until


def mounted(target):
    with open("/proc/self/mounts", encoding="utf-8") as table:
        return [line.split() for line in table if line.split()[1] == str(target)]


def end(target):
    subprocess.run(["umount", target], check=True, timeout=60)
    wait_until(lambda: subprocess.run(["pgrep", "-f", str(target)], check=False,
                                      capture_output=True).returncode != 0, 20, "end of the mount")


@pytest.mark.parametrize("flags", [["-f"], []], ids=["foreground", "background"])
def test_who_loses_patience_with_a_store_that_is_not_there_ends_the_mount(workdir, processes, flags):
    target = workdir / "mnt"
    target.mkdir()
    mount = processes.start([program("skyvol-mount"), "s3://bucket", target, *flags, "-o",
                             f"endpoint=http://127.0.0.1:{free_port()}"], "mount")
    wait_until(lambda: "cannot be reached" in mount.log.read_text(), 10, "a warning", mount)
    assert re.search(r"store=http://127.0.0.1:\d+ .*refused.* seconds_left=(60|5\d)\n",
                     mount.log.read_text())
    mount.send_signal(signal.SIGTERM)  # SIGINT is ignored where tests run in the background
    assert mount.wait(10) != 0
    wait_until(lambda: subprocess.run(["pgrep", "-f", str(target)], check=False,
                                      capture_output=True).returncode != 0, 10, "end of the mount")
    assert mounts_below(workdir) == []


def try_in_vain(target, options, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run([program("skyvol-mount"), "s3://bucket", target, "-f", "-o", options],
                          env=dict(environment, HOME="/nonexistent", **variables), check=False,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done
    return done.stderr


def test_the_last_word_of_a_store_that_is_not_there_is_the_same_as_the_first(workdir):
    said = try_in_vain(workdir, f"endpoint=http://127.0.0.1:{free_port()},deadline=1")
    first, *_, last, advice = said.splitlines()
    assert "refused" in first and "trying out http://127.0.0.1:" in last, said
    assert "put 'bucket/.skyvol/probe/" in last and "Failed to connect" in last, said
    assert "Nobody listens there" in advice and "firewall" not in said, said
    said = try_in_vain(workdir, "endpoint=http://nowhere.invalid,deadline=3")
    for line in said.splitlines()[:-1]:
        assert "resolve" in line and "route" not in line, said


@pytest.mark.parametrize("given, missing", [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
                                            ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")])
def test_of_half_a_pair_of_keys_the_other_half_is_named(workdir, given, missing):
    said = try_in_vain(workdir, "deadline=1", **{given: "half-a-pair"})
    assert f"{given} is set, but {missing} is not" in said and "half-a-pair" not in said
    file = workdir / "credentials"
    file.write_text(f"[default]\n{given.lower()} = half-a-pair\n")
    said = try_in_vain(workdir, "deadline=1", AWS_SHARED_CREDENTIALS_FILE=str(file))
    assert f"profile 'default' in {file} has no {missing.lower()}" in said


def test_a_store_that_accepts_and_says_nothing_is_told_of_while_it_is_tried(workdir, processes):
    target = workdir / "mnt"
    target.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        mount = processes.start([program("skyvol-mount"), "s3://bucket", target, "-f", "-o",
                                 f"endpoint={url},deadline=30"], "mount")
        wait_until(lambda: "has not answered" in mount.log.read_text(), 20, "a warning", mount)
        line = next(line for line in mount.log.read_text().splitlines() if "not answered" in line)
        assert f"store={url} " in line and 20 <= int(line.rpartition("seconds_left=")[2]) < 30
        processes.stop(mount)
    assert mounts_below(workdir) == []


def test_the_helpers_flags_are_taken_alone_and_together(workdir):
    target = workdir / "mnt"
    target.mkdir()
    helper = workdir / "mount.fuse.skyvol"
    helper.symlink_to(program("skyvol-mount"))
    for flags in (["-n", "-s", "-v"], ["-nsv"], ["-t", "fuse.skyvol", "-n"]):
        done = subprocess.run([helper, "mem://bucket", target, *flags, "-o",
                               "rw,_netdev,noauto,nofail,x-systemd.automount"],
                              capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        ((_, _, kind, options, *_),) = mounted(target)
        assert kind == "fuse.skyvol" and options.startswith("rw,")
        (target / "a").write_text("works")
        end(target)
    for wrong in (["-x"], ["-nx"], ["-t", "fuse.other"], ["-o", "no_such_option"]):
        done = subprocess.run([helper, "mem://bucket", target, *wrong], capture_output=True,
                              text=True, check=False, timeout=60)
        assert done.returncode == 2 and done.stderr.startswith("skyvol-mount: ")
    assert mounts_below(workdir) == []


def test_who_takes_an_option_for_an_argument_or_the_reverse_is_told(workdir):
    for words, advice in ((["--endpoint=http://h"], "-o endpoint=http://h"),
                          (["--region", "x"], "-o region"), (["-o", "size=1G"], "argument --size")):
        done = subprocess.run([program("skyvol-mount"), "s3://bucket", workdir, *words],
                              capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, advice in done.stderr) == (2, True), done


def test_a_mount_whose_program_was_killed_makes_way_for_the_next(workdir, processes):
    target = workdir / "mnt"
    target.mkdir()
    argv = [program("skyvol-mount"), "mem://bucket", target, "-f", "-o", "attr_timeout=600"]
    first = processes.start(argv, "first")
    wait_until(lambda: os.path.ismount(target), what="mount", process=first)
    first.kill()
    first.wait(10)
    assert len(mounted(target)) == 1
    second = processes.start(argv, "second")
    wait_until(lambda: "unmounted here" in second.log.read_text(), what="a word", process=second)
    wait_until(lambda: os.path.ismount(target), what="mount", process=second)
    (target / "a").write_text("works")
    assert len(mounted(target)) == 1
    third = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert third.returncode == 1 and "mounted already" in third.stderr  # this one lives
    assert (target / "a").read_text() == "works"
    processes.stop(second)
    assert mounts_below(workdir) == []


def test_a_mount_that_cannot_begin_to_serve_is_taken_away_again(workdir):
    (workdir / "mnt").mkdir()
    done = subprocess.run([program("skyvol-mount"), "mem://bucket", workdir / "mnt", "-o", "metrics=nowhere:1x"],
                          capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "status address" in done.stderr
    assert mounts_below(workdir) == []


def test_a_relative_mount_point_is_unmounted_by_a_signal(workdir):
    (workdir / "mnt").mkdir()
    mark = f"x-test={workdir.name}"  # its working directory is another when it is in the background
    subprocess.run([program("skyvol-mount"), "mem://bucket", "mnt", "-o", mark], cwd=workdir,
                   check=True, timeout=60)
    assert mounts_below(workdir) == [str(workdir / "mnt")]
    pid = subprocess.run(["pgrep", "-f", mark], check=True, capture_output=True, text=True).stdout
    os.kill(int(pid), signal.SIGTERM)
    wait_until(lambda: mounts_below(workdir) == [], 20, "end of the mount")


def test_mount_8_finds_it_as_it_is_installed(workdir):
    root, target = workdir / "root", workdir / "mnt"
    target.mkdir()
    subprocess.run(["make", "-s", "-C", ROOT, "install", f"DESTDIR={root}"], check=True,
                   capture_output=True)
    installed = root / "sbin" / "mount.fuse.skyvol"
    assert os.readlink(installed) == "/usr/local/bin/skyvol-mount"
    assert (root / "usr/local/bin/skyvol-mount").exists()
    # mount(8) looks in /sbin alone: in a mount namespace of this command's own it finds ours there.
    script = ('set -e; mkdir "$1/up" "$1/work"; '
              'mount -t tmpfs helper "$1/up"; mkdir "$1/up/sbin"; cp -a /sbin/. "$1/up/sbin/"; '
              'ln -sf "$2" "$1/up/sbin/mount.fuse.skyvol"; '
              'mount --bind "$1/up/sbin" "$(readlink -f /sbin)"; '
              'mount -n -t fuse.skyvol -o ro,nodev,nosuid mem://bucket "$3"; '
              'grep " $3 fuse.skyvol ro," /proc/self/mounts; umount "$3"')
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script,
                           "sh", workdir, program("skyvol-mount"), target],
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0 and " fuse.skyvol ro," in done.stdout, done.stderr


def test_a_line_of_fstab_is_mounted_once_and_shown_by_its_location(workdir):
    target = workdir / "mnt"
    target.mkdir()
    fstab = workdir / "fstab"
    location = "mem://bucket/a,b\\c"
    # fstab(5) writes a backslash as \\134, as mountinfo does.
    fstab.write_text(f"mem://bucket/a,b\\134c {target} fuse.skyvol "
                     "_netdev,user,nofail,exec,auto,lazytime,sync,x-systemd.automount 0 0\n")
    script = ('set -e; mkdir "$1/up"; mount -t tmpfs helper "$1/up"; mkdir "$1/up/sbin"; '
              'cp -a /sbin/. "$1/up/sbin/"; ln -sf "$2" "$1/up/sbin/mount.fuse.skyvol"; '
              'mount --bind "$1/up/sbin" "$(readlink -f /sbin)"; '
              'mount -a -T "$1/fstab"; mount -a -T "$1/fstab"; '
              'findmnt -n -o SOURCE,FSTYPE,VFS-OPTIONS "$3"; df --output=source "$3" | tail -1; umount "$3"')
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script,
                           "sh", workdir, program("skyvol-mount"), target],
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    shown, source = done.stdout.splitlines()
    assert shown.split()[:2] == [location, "fuse.skyvol"] and source == location
    assert {"nosuid", "nodev"} <= set(shown.split()[2].split(",")) and "noexec" not in shown


def test_the_kernel_is_told_noexec_and_df_the_name_that_was_given(workdir):
    target = workdir / "mnt"
    target.mkdir()
    subprocess.run([program("skyvol-mount"), "mem://bucket", target, "-o", "noexec,suid,fsname=a\\b"],
                   check=True, timeout=60)
    ((source, _, kind, options, *_),) = mounted(target)
    assert (source, kind) == ("a\\134b", "fuse.skyvol")
    assert {"noexec", "nodev"} <= set(options.split(",")) and "nosuid" not in options
    end(target)


@pytest.mark.parametrize("names", [["AWS_ENDPOINT_URL_S3", "AWS_REGION"],
                                   ["AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"]])
def test_the_environment_of_aws_tools_says_endpoint_and_region(workdir, processes, names):
    target = workdir / "mnt"
    target.mkdir()
    heads = []

    def tell(server):
        client, _ = server.accept()
        with client:
            heads.append(client.recv(65536).decode())
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as store:
        url = f"http://127.0.0.1:{store.getsockname()[1]}"
        wrong = f"http://127.0.0.1:{free_port()}"
        env = {**os.environ, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret",
               "AWS_ENDPOINT_URL": wrong, "AWS_DEFAULT_REGION": "elsewhere",
               names[0]: url, names[1]: "lab-7"}
        mount = processes.start([program("skyvol-mount"), "s3://bucket", target, "-f", "-o",
                                 "deadline=5,ro,passwd_file=/etc/passwd-s3fs"], "mount", env=env)
        tell(store)
        assert "/lab-7/s3/aws4_request" in heads[0]
        processes.stop(mount)
        said = mount.log.read_text()
        assert "'passwd_file' is not read" in said and "AWS_ACCESS_KEY_ID" in said
        # An option wins.
        mount = processes.start([program("skyvol-mount"), "s3://bucket", target, "-f", "-o",
                                 f"deadline=5,ro,region=own,endpoint={url}"], "mount",
                                env={**env, names[0]: wrong, names[1]: "elsewhere"})
        tell(store)
        assert "/own/s3/aws4_request" in heads[1]
        processes.stop(mount)
    done = subprocess.run([program("skyvol-mount"), "s3://bucket", target], check=False, timeout=60,
                          capture_output=True, text=True, env={**env, names[0]: "nonsense"})
    assert done.returncode == 2 and names[0] in done.stderr
    assert mounts_below(workdir) == []


def test_the_log_of_a_mount_in_the_background_is_a_file_that_may_be_rotated(workdir):
    target, log, old = workdir / "mnt", workdir / "log", workdir / "log.1"
    target.mkdir()
    argv = [program("skyvol-mount"), "mem://bucket", target, "-o"]
    subprocess.run([*argv, f"log_file={log},log_level=debug"], check=True, timeout=60,
                   env={**os.environ, "AWS_SECRET_ACCESS_KEY": "never-told", "AWS_ACCESS_KEY_ID": "id"})
    assert log.stat().st_mode & 0o777 == 0o600
    assert f"msg=mounted location=mem://bucket at={target}\n" in log.read_text()
    pid = int(subprocess.run(["pgrep", "-f", f"log_file={log}"], check=True,
                             capture_output=True, text=True).stdout)
    log.rename(old)
    os.kill(pid, signal.SIGHUP)
    wait_until(log.exists, 10, "a new file")
    end_of_old = old.read_text()
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 20, "end of the mount")
    assert "msg=stopping" in log.read_text() and old.read_text() == end_of_old
    assert "never-told" not in end_of_old + log.read_text()
    done = subprocess.run([*argv, "log_file=/nowhere/log"], check=False, timeout=60,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "log_file=/nowhere/log: No such file" in done.stderr
    assert mounts_below(workdir) == []


def test_the_log_of_a_mount_in_the_background_is_syslogs_otherwise(workdir):
    target = workdir / "mnt"
    target.mkdir()
    (workdir / "dev").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslogd:
        syslogd.bind(str(workdir / "dev" / "log"))
        syslogd.settimeout(20)
        # /dev/log is ours in a mount namespace of this command's own.
        script = ('set -e; mount -t tmpfs dev "$1/dev2"; cp -a /dev/null /dev/fuse "$1/dev2/"; '
                  'ln -s "$1/dev/log" "$1/dev2/log"; ln -s /proc/self/fd "$1/dev2/fd"; '
                  'mount --bind "$1/dev2" /dev; "$2" mem://bucket "$3"; umount "$3"')
        (workdir / "dev2").mkdir()
        done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script,
                               "sh", workdir, program("skyvol-mount"), target],
                              capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        line = syslogd.recv(65536).decode()
    assert re.fullmatch(r"<30>\w{3} [ \d]\d [\d:]{8} skyvol-mount\[\d+\]: level=info msg=mounted "
                        rf"location=mem://bucket at={target}\n", line)
