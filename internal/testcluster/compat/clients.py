"""Public Python clients of the SeaweedFS HTTP API, as they are, against a store.

Usage: python clients.py MASTER_HOST:PORT
Prints one line per client and one per step that failed; exits 1 when one did.
"""

import asyncio
import io
import os
import sys
import tempfile
import traceback

MASTER = sys.argv[1]
HOST, PORT = MASTER.split(":")
BASE = "http://" + MASTER
TEXT = b"hello weed! " * 50
BINARY = os.urandom(300_000)


failures = []


def check(ok, what):
    if not ok and what not in failures:
        failures.append(what)


def pyseaweed():
    from pyseaweed import SeaweedFS

    for session in (False, True):
        store = SeaweedFS(HOST, int(PORT), use_session=session)
        for data in (TEXT, BINARY):
            with tempfile.NamedTemporaryFile(suffix=".txt") as file:
                file.write(data)
                file.flush()
                fids = [
                    store.upload_file(file.name),
                    store.upload_file(stream=io.BytesIO(data), name="stream.bin"),
                    store.upload_file(stream=io.BytesIO(data), name="c.bin", collection="compat", replication="000"),
                ]
            for fid in fids:
                check(fid, "upload")
                check(store.get_file(fid) == data, "get_file")
                check(store.get_file_url(fid).endswith(fid), "get_file_url")
                check(store.file_exists(fid), "file_exists")
                check(store.delete_file(fid), "delete_file")
                check(not store.file_exists(fid), "file_exists after delete_file")
                check(store.get_file(fid) is None, "get_file after delete_file")
        check(store.vacuum(0.3), "vacuum")
        check(store.version, "version")


def python_weed():
    from weed.conf import silent_global_logger
    from weed.master import WeedMaster
    from weed.operation import WeedOperation
    from weed.util import Status

    silent_global_logger()  # it reports what is expected to fail here
    operation, master = WeedOperation(BASE, prefetch_volume_ids=True), WeedMaster(BASE)
    check("Topology" in master.get_status(), "get_status")
    check("fid" in master.acquire_assign_info(), "acquire_assign_info")
    check(len(operation.acquire_new_fids(3)) >= 3, "acquire_new_fids")
    for data in (TEXT, BINARY):
        put = operation.crud_create(io.BytesIO(data), "name.txt")
        check(put.status == Status.SUCCESS and put.storage_size == len(data), "crud_create")
        check(operation.exists(put.fid), "exists")
        check(operation.get_content(put.fid) == data, "get_content")
        check(operation.crud_update(io.BytesIO(data + b"2"), put.fid, "name.txt").ok(), "crud_update")
        check(operation.crud_read(put.fid).content == data + b"2", "crud_read")
        other = operation.acquire_new_fids(1)[0]
        check(operation.cp(put.fid, other).ok(), "cp")
        check(operation.get_content(other) == data + b"2", "get_content after cp")
        volume = master.get_volume(put.fid)
        check("Volumes" in volume.get_status(), "volume status")
        check(volume.get_file(put.fid) == data + b"2", "volume get_file")
        check(operation.crud_delete(put.fid).ok(), "crud_delete")
        check(not operation.exists(put.fid), "exists after crud_delete")
        check(not operation.crud_delete(put.fid).ok(), "second crud_delete")
    check("Topology" in master.vacuum(), "vacuum")


async def aio():
    from aioseaweedfs import Master

    async with Master(BASE) as master:
        for data in (TEXT, BINARY):
            volume, fids = await master.get_assign_key(count=3, collection="aio", ttl="3d")
            check(len(fids) == 3, "get_assign_key")
            for fid in fids:
                check(await volume.post(fid, data, "text/plain") == len(data), "post")
                found = await master.get_volume(fid)
                check(await found.get(fid) == data, "get")
                check(await found.delete(fid), "delete")
                check(await found.get(fid) != data, "get after delete")
        check(await master.delete_collection("aio"), "delete_collection")


def weedforge():
    from weedforge import FileId, WeedClient

    client = WeedClient(master_urls=[BASE], strategy="round_robin", max_retries=3)
    for data in (TEXT, BINARY, b""):
        for write in (client.write, client.upload_bytes):
            fid = write(data, filename="hello.txt")
            check(bytes(client.read(fid)) == data, "read")
            text = fid.render()
            check(FileId.parse(text).render() == text, "parse")
            check(text in client.public_url(fid), "public_url")
            client.delete(fid)
            try:
                client.read(fid)
                check(False, "read after delete")
            except Exception:  # whatever it raises for a blob that is gone
                pass


failed = False
for name, run in {
    "pyseaweed": pyseaweed,
    "python-weed": python_weed,
    "aioseaweedfs": lambda: asyncio.run(aio()),
    "weedforge": weedforge,
}.items():
    failures.clear()
    try:
        run()
    except Exception:
        failures.append(traceback.format_exc())
    print("FAIL" if failures else "ok  ", name, "; ".join(failures))
    failed = failed or bool(failures)
sys.exit(1 if failed else 0)
