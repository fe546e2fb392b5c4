"""Media with a DICOMDIR, and ZIP archives of folders, written by pydicom and zipfile."""

import zipfile
from pathlib import Path

from pydicom import dcmread
from pydicom.fileset import FileSet

from tests.ingest.builders import volume_hu, write_ct_series


def write_medium(root: Path, series_uids: tuple[str, ...] = ("2.25.771", "2.25.772")) -> dict[str, list[Path]]:
    """Write CT series of 4 slices below a DICOMDIR.

    Returns:
        The image files by series, by rising slice.
    """

    def complete(dataset, z):
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200102", "101112", "1"
        dataset.SeriesNumber, dataset.PatientName = 1, "Secret^Name"

    medium = FileSet()
    for seed, uid in enumerate(series_uids):
        for path in write_ct_series(root.parent / f"loose{seed}", volume_hu(seed=seed), series_uid=uid, change=complete):
            medium.add(path)
    medium.write(root)
    for path in [one for seed in range(len(series_uids)) for one in (root.parent / f"loose{seed}").iterdir()]:
        path.unlink()
    files: dict[str, list[Path]] = {uid: [] for uid in series_uids}
    found = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "DICOMDIR"]
    for path in sorted(found, key=lambda one: int(dcmread(one, specific_tags=["InstanceNumber"]).InstanceNumber)):
        files[str(dcmread(path, specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)].append(path)
    return files


def zip_folder(folder: Path, archive: Path) -> Path:
    """Put the files below a folder into an archive."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                opened.write(path, path.relative_to(folder).as_posix())
    return archive
