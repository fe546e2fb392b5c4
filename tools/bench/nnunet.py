"""nnU-Net's planning and preprocessing of the benchmark's series, in an environment of its own, for tools/bench/pack.py.

nnU-Net reads no DICOM, so the series are turned into NIfTI first; that time is told apart. As label it gets bone by a threshold:
how long preprocessing takes does not depend on where a label is.
"""

import os
import subprocess
import time
from pathlib import Path

CONVERT = """
import json, pathlib, sys
import SimpleITK as sitk
raw = pathlib.Path(sys.argv[2]) / "Dataset001_Bench"
(raw / "imagesTr").mkdir(parents=True)
(raw / "labelsTr").mkdir()
folders = sorted(pathlib.Path(sys.argv[1]).iterdir())
for folder in folders:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    sitk.WriteImage(image, str(raw / "imagesTr" / (folder.name + "_0000.nii")))
    sitk.WriteImage(sitk.Cast(image > 400, sitk.sitkUInt8), str(raw / "labelsTr" / (folder.name + ".nii")))
said = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "bone": 1}, "numTraining": len(folders), "file_ending": ".nii"}
(raw / "dataset.json").write_text(json.dumps(said))
"""
PREPROCESS = """
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
if __name__ == "__main__":
    extract_fingerprints([1], num_processes=2)
    plan_experiments([1])
    preprocess([1], configurations=["2d"], num_processes=[2])
"""


def convert(python: Path, data: Path, raw: Path) -> float:
    """Write the series and labels as nnU-Net's raw data set; give the seconds that took."""
    started = time.perf_counter()
    subprocess.run([python, "-c", CONVERT, data, raw], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def write_command(python: Path, folder: Path) -> list[str]:
    """Give the command line that plans and preprocesses; its workers are started anew from a script, which is written here."""
    script = folder / "preprocess.py"
    script.write_text(PREPROCESS)
    return [str(python), str(script)]


def environment(raw: Path, target: Path) -> dict[str, str]:
    """Give the variables through which nnU-Net is told its folders."""
    return {**os.environ, "nnUNet_raw": str(raw), "nnUNet_preprocessed": str(target), "nnUNet_results": str(target / "results")}
