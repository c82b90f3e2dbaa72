"""Orthanc as the PACS of a box: orthanc.py MONET SERIES_FOLDER WORK_FOLDER

Orthanc gets a series by its REST interface, sends it to `monet serve`, and gets the results back. The segmentation must lie
on the series: highdicom reads it, each frame names an instance that Orthanc has, at that instance's position. Prints a line
of what was found; any error is a failure.
"""
import io, json, os, pathlib, signal, socket, subprocess, sys, time, urllib.request

import highdicom as hd
import numpy as np
from pydicom import dcmread

monet, series, work = map(pathlib.Path, sys.argv[1:4])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


http, dicom, box = free_port(), free_port(), free_port()
(work / "orthanc.json").write_text(json.dumps({
    "Name": "PACS", "StorageDirectory": str(work / "orthanc"), "IndexDirectory": str(work / "orthanc"), "HttpPort": http,
    "DicomPort": dicom, "DicomAet": "ORTHANC", "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
    "DicomModalities": {"monet": ["MONET", "127.0.0.1", box]}, "Plugins": [],
}))
(work / "box.toml").write_text(f"""
folder = "data"
[listen]
address = "127.0.0.1:{box}"
ae_titles = ["MONET"]
callers = ["ORTHANC"]
[study]
quiet_s = 1
[[rule]]
outputs = ["seg", "report", "capture"]
[[destination]]
name = "orthanc"
address = "127.0.0.1:{dicom}"
ae_title = "ORTHANC"
commitment = true
[retry]
first_s = 1
""")


def rest(path, data=None):
    request = urllib.request.Request(f"http://127.0.0.1:{http}{path}", data=data)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def until(what, question, patience=120):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            answer = question()
            if answer:
                return answer
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit(f"waited in vain for {what}; the box says:\n{(work / 'box.log').read_text()}")


processes = []
try:
    with open(work / "orthanc.log", "wb") as log:
        processes.append(subprocess.Popen(["Orthanc", str(work / "orthanc.json")], stdout=log, stderr=log))
    with open(work / "box.log", "wb") as log:
        processes.append(subprocess.Popen([monet, "serve", "box.toml"], cwd=work, stdout=log, stderr=log))
    until("Orthanc", lambda: rest("/system"))
    sent = sorted(series.glob("*.dcm"))
    begun = time.monotonic()
    for path in sent:
        rest("/instances", path.read_bytes())
    identity = json.loads(rest("/series"))[0]
    until("the listener", lambda: socket.create_connection(("127.0.0.1", box)).close() or True)
    answer = json.loads(rest("/modalities/monet/store", identity.encode()))
    assert answer["FailedInstancesCount"] == 0, answer
    modalities = lambda: {json.loads(rest(f"/series/{s}"))["MainDicomTags"]["Modality"] for s in json.loads(rest("/series"))}
    found = until("results", lambda: (m := modalities()) >= {"SEG", "SR", "OT"} and m)
    until("the end", lambda: list((work / "data/done").glob("*")))
    took = time.monotonic() - begun
    segs = [s for s in json.loads(rest("/series")) if json.loads(rest(f"/series/{s}"))["MainDicomTags"]["Modality"] == "SEG"]
    instance = json.loads(rest(f"/series/{segs[0]}"))["Instances"][0]
    seg = hd.seg.segread(io.BytesIO(rest(f"/instances/{instance}/file")))
    sources = {}
    for path in sent:
        ds = dcmread(path, stop_before_pixels=True)
        sources[ds.SOPInstanceUID] = ds
    assert seg.StudyInstanceUID == next(iter(sources.values())).StudyInstanceUID
    frames = seg.PerFrameFunctionalGroupsSequence
    for frame in frames:
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert np.array_equal(frame.PlanePositionSequence[0].ImagePositionPatient, sources[uid].ImagePositionPatient)
    assert seg.pixel_array.any(), "an empty segmentation"
    print(f"{len(sent)} instances from Orthanc, {sorted(found)} back, {len(frames)} frames on their slices, {took:.1f} s")
finally:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait(30)
