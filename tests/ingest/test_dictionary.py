import pydicom.uid
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from hipseg.ingest import dictionary


@pytest.mark.parametrize("keyword", sorted(dictionary.ELEMENTS))
def test_every_element_is_pydicoms(keyword):
    tag = dictionary.tag_of(keyword)
    assert (tag, dictionary.representation_of(tag)) == (tag_for_keyword(keyword), dictionary_VR(tag))


@pytest.mark.parametrize("group", [0x6000, 0x600A, 0x601E, 0x60FE])
def test_every_overlay_element_is_pydicoms_in_each_group(group):
    tags = [group << 16 | element for element in dictionary.OVERLAY_ELEMENTS]
    assert [dictionary.representation_of(tag) for tag in tags] == [dictionary_VR(tag) for tag in tags]


def test_an_element_that_is_not_listed_has_no_representation():
    # Patient's Name, which nothing may ask for.
    assert dictionary.representation_of(0x00100010) is None
    with pytest.raises(KeyError):
        dictionary.tag_of("PatientName")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (dictionary.IMPLICIT_LITTLE_ENDIAN, pydicom.uid.ImplicitVRLittleEndian),
        (dictionary.EXPLICIT_LITTLE_ENDIAN, pydicom.uid.ExplicitVRLittleEndian),
        (dictionary.DEFLATED_LITTLE_ENDIAN, pydicom.uid.DeflatedExplicitVRLittleEndian),
        (dictionary.EXPLICIT_BIG_ENDIAN, pydicom.uid.ExplicitVRBigEndian),
        (dictionary.MEDIA_DIRECTORY, pydicom.uid.MediaStorageDirectoryStorage),
        (dictionary.CT_IMAGE, pydicom.uid.CTImageStorage),
        (dictionary.ENHANCED_CT_IMAGE, pydicom.uid.EnhancedCTImageStorage),
        (dictionary.CONVERTED_ENHANCED_CT_IMAGE, pydicom.uid.LegacyConvertedEnhancedCTImageStorage),
    ],
)
def test_every_identifier_is_pydicoms(ours, theirs):
    assert ours == theirs
