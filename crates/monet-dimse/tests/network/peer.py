"""A peer made of pynetdicom, which does what a test asks.

peer.py scp [PORT]       serves until its input ends; writes its port first, then what it sees.
                         Reports on commitment go to PORT, or come on the same association.
peer.py scu PORT WHAT    asks; writes what it is answered.

With --tls VERSION CA CERTIFICATE KEY behind, over TLS of that version, as 1.3. The peer's certificate
is one of the CA's, and for localhost.
"""

import queue
import socket
import ssl
import struct
import sys
import threading
import time

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StorageCommitmentPushModel,
    Verification,
)

INSTANCE = "1.2.840.10008.1.20.1.1"
PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def say(*words):
    """Writes a line at once: `print` writes the line's end by itself, and threads share the output."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def peer():
    """An entity that waits longer than pynetdicom's half minute: machines may be busy."""
    entity = AE("PEER")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 180
    return entity


def counted(data):
    return all(byte == at & 255 for at, byte in enumerate(data))


def on_store(event):
    """Does what the last number of the instance's UID says."""
    request = event.request
    wanted = int(request.AffectedSOPInstanceUID.split(".")[-1])
    data = request.DataSet.getvalue()
    if wanted == 70001:
        event.assoc.abort()
        return 0
    if wanted == 70002:
        time.sleep(3)
        return 0
    if not counted(data):
        return 0xC001
    say("store", request.AffectedSOPInstanceUID, len(data))
    status = Dataset()
    status.Status = wanted & 0xFFFF
    if wanted:
        status.ErrorComment = "no room for it, sorry, and this text is as long as it may be: 64"
    return status


def result(wanted):
    """The first instance fails, all others are kept."""
    report = Dataset()
    report.TransactionUID = wanted.TransactionUID
    report.ReferencedSOPSequence = wanted.ReferencedSOPSequence[1:]
    failed = wanted.ReferencedSOPSequence[0]
    failed.FailureReason = 0x0112
    report.FailedSOPSequence = [failed]
    return report


def report_on(association, wanted):
    status, _ = association.send_n_event_report(
        result(wanted), 2, StorageCommitmentPushModel, INSTANCE
    )
    say("reported", f"{status.Status:04x}" if status else "nothing")


def call_back(port, wanted):
    time.sleep(0.2)
    entity = peer()
    entity.add_requested_context(StorageCommitmentPushModel, PLAIN)
    role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    association = entity.associate("127.0.0.1", port, ae_title="SCU", ext_neg=[role])
    report_on(association, wanted)
    association.release()


def over_tls(purpose):
    """What --tls says; None without it."""
    if "--tls" not in sys.argv:
        return None
    version, authority, certificate, key = sys.argv[sys.argv.index("--tls") + 1 :]
    context = ssl.create_default_context(purpose, cafile=authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    wanted = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    context.minimum_version = context.maximum_version = wanted
    return context


def serve(port):
    def on_action(event):
        wanted = event.action_information
        say("action", event.action_type, len(wanted.ReferencedSOPSequence))
        if port:
            threading.Thread(target=call_back, args=(port, wanted)).start()
        else:
            def later():
                time.sleep(0.3)
                report_on(event.assoc, wanted)
            threading.Thread(target=later).start()
        return 0, None

    entity = peer()
    entity.maximum_pdu_size = 0
    for syntax in (Verification, CTImageStorage, StorageCommitmentPushModel):
        entity.add_supported_context(syntax, PLAIN)
    handlers = [
        (evt.EVT_C_ECHO, lambda event: 0),
        (evt.EVT_C_STORE, on_store),
        (evt.EVT_N_ACTION, on_action),
        (evt.EVT_ABORTED, lambda event: say("aborted")),
        (evt.EVT_RELEASED, lambda event: say("released")),
    ]
    server = entity.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=handlers,
        ssl_context=over_tls(ssl.Purpose.CLIENT_AUTH),
    )
    say(server.server_address[1])
    sys.stdin.read()
    server.shutdown()


def instance(number, syntax=ExplicitVRLittleEndian):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = f"1.2.{number}"
    data.PatientName = "Nobody"
    data.PixelData = bytes(range(256)) * 1500
    data["PixelData"].VR = "OW"
    data.BitsAllocated = 16
    return data


def references(count):
    wanted = Dataset()
    wanted.TransactionUID = "1.2.3.4"
    wanted.ReferencedSOPSequence = []
    for number in range(count):
        item = Dataset()
        item.ReferencedSOPClassUID = CTImageStorage
        item.ReferencedSOPInstanceUID = f"1.2.{number + 1}"
        wanted.ReferencedSOPSequence.append(item)
    return wanted


def alone(association):
    """The association once its reactor waits. pynetdicom pauses the reactor for an operation, but
    takes one that is just going on for one that waits: the reactor then takes the answer."""
    association._reactor_checkpoint.clear()
    time.sleep(0.2)
    while not association._is_paused:
        time.sleep(0.01)
    return association


def ask(port, what):
    reports = queue.Queue()

    def on_report(event):
        information = event.event_information
        kept = len(information.get("ReferencedSOPSequence", []))
        failed = len(information.get("FailedSOPSequence", []))
        reports.put(("report", event.event_type, kept, failed))
        return 0, None

    entity = peer()
    entity.maximum_pdu_size = 4096
    syntaxes = [ImplicitVRLittleEndian] if what == "implicit" else PLAIN
    entity.add_requested_context(Verification)
    entity.add_requested_context(CTImageStorage, syntaxes)
    entity.add_requested_context(StorageCommitmentPushModel, syntaxes)
    entity.add_requested_context(PatientRootQueryRetrieveInformationModelFind)
    handlers = [(evt.EVT_N_EVENT_REPORT, on_report)]
    context = over_tls(ssl.Purpose.SERVER_AUTH)
    association = entity.associate(
        "127.0.0.1",
        port,
        ae_title="SCP",
        evt_handlers=handlers,
        tls_args=(context, "localhost") if context else None,
    )
    accepted = sorted(context.abstract_syntax for context in association.accepted_contexts)
    say("accepted", *accepted)
    if what in ("explicit", "implicit"):
        say("echo", f"{alone(association).send_c_echo().Status:04x}")
        for number in range(1, 6):
            status = alone(association).send_c_store(instance(number, syntaxes[0]))
            say("store", f"{status.Status:04x}")
        status, _ = alone(association).send_n_action(
            references(100), 1, StorageCommitmentPushModel, INSTANCE
        )
        say("action", f"{status.Status:04x}")
        say(*reports.get(timeout=180))
        time.sleep(0.2)
        association.release()
    elif what == "wrong":
        status, _ = alone(association).send_n_action(
            references(1), 2, StorageCommitmentPushModel, INSTANCE
        )
        say("action", f"{status.Status:04x}")
        status, _ = alone(association).send_n_action(
            references(1), 1, StorageCommitmentPushModel, "1.2"
        )
        say("action", f"{status.Status:04x}")
        nothing = references(1)
        del nothing.TransactionUID
        status, _ = alone(association).send_n_action(
            nothing, 1, StorageCommitmentPushModel, INSTANCE
        )
        say("action", f"{status.Status:04x}")
        association.release()
    elif what == "abort":
        alone(association).send_c_store(instance(1))
        association.abort()
    elif what == "lie":
        alone(association).send_c_store(instance(1))
        association.dul.socket.socket.sendall(struct.pack(">BBI", 4, 0, 1 << 31) + b"x" * 1000)
        time.sleep(0.5)
        say("aborted", association.is_aborted)
    elif what == "gone":
        alone(association).send_c_store(instance(1))
        association.dul.socket.socket.sendall(struct.pack(">BBI", 4, 0, 4000) + b"x" * 1000)
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)


if sys.argv[1] == "scp":
    serve(int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2].isdigit() else None)
else:
    ask(int(sys.argv[2]), sys.argv[3])
