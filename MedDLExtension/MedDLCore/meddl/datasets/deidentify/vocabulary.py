"""Words that tell how an image was made, and nobody's name: what may stay in a cleaned description."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


IMAGING = words(
    """
    2d 3d 4d abd abdomen abdominal above acquisition acute adc adrenal adult angio angiography angle angled ankle
    anterior aorta aortic ap apical appendix arm arms arterial artery asl average averaging ax axial axis b0 back
    balanced base baseline bh bilateral biliary bladder blade body bold bolus bone bones bowel brachial brain
    brainstem breast breath breathhold bronchial bvalue calcium calf cardiac care carotid cavity cbct cbf cbv
    cerebellum cerebral cervical cest chest cine ciss clavicle coarse coil coll colon column comb complex contrast
    control cor cord corona coronal coronary corrected correction cranial cranium csf ct cta ctdi cube deep delay
    delayed delta derived diastole diastolic diffusion dir disc distal dixon dose dti dual duodenum dwi dynamic
    early ecg echo edge eeg elastography elbow end endo enhanced enhancement epi esophagus exp expiration
    expiratory extended external extremity eye face facial fast fat fatsat fbp femoral femur ffe fgr fgre fid
    field fiesta filter fine fingers fissure flair flow fluid fluoro fmri follow foot forearm fov fovea frame free
    frequency frfse fs fsat fse fspgr full functional fundus gad gado gadolinium gallbladder gate gated gating ge
    gradient grase gre groin hand haste head heart heel hepatic hepatobiliary high hilum hip hips hires hr hrct
    humerus hybrid iac ileum iliac image imaging in infarct inferior inflow inspiration inspiratory internal
    intestine inv inversion ir iso isotropic ivim jaw jejunum joint kernel kidney kidneys knee lat lateral lava
    left leg legs lesion limb lipid liver localiser localizer long low lower lumbar lung lungs lymph mag magnitude
    mammo mammogram mandible map mask maxilla maxillary maximum mean medial mediastinum medium medulla mesentery
    mid minip mip mpgr mpr mprage mr mra mrcp mri mrs mrv multi multiphase muscle myelo myocardial myocardium
    nasal native navigator neck nerve neuro node nodes noise non none normal nose nuclear obl oblique occipital
    off on opp opposed optic oral orbit orbits oropharynx out ovary pa pancreas pancreatic parallel paranasal
    parietal patella pc pca pd pediatric pelvic pelvis perfusion peritoneum pet petct petmr phantom pharynx phase
    phased pituitary plain planar plane pleura plus portal portovenous post postcontrast posterior pre precontrast
    prep proc projection prone propeller prospect prostate protocol proton proximal pulmonary pulse qsm quick
    quiet radial radius rapid ratio raw recon reconstruction rectum reformat reformatted region rel renal repeat
    resp respiratory rest resting restore retina retro right roi rot sacral sacrum sag sagittal sat saturation
    scan scout screening se secondary segment sense sequence series sft sharp short shoulder shunt side single
    sinus sinuses skeletal skeleton skull slab slice slices smooth soft space spair spec spect spectroscopy spgr
    spin spinal spine spiral spleen spoiled stack standard standing std stenosis sternum stir stomach stress
    structural sub subtraction sum superior supine suppression survey suv suvbw swallow swi systole systolic t1
    t1w t2 t2star t2w tagging temporal tendon test testis tfe tfl thick thigh thin thoracic thorax throat thymus
    thyroid tibia tilt time tirm tissue tof tongue topogram torso total tra trace trachea tract trans transaxial
    transverse trigger true truefisp trufi tse tube turbo twist ulna ultrasound unenhanced up upper ureter urethra
    uterine uterus vein venous ventral ventricle ventricular vertebra vertebrae vertebral vessel vessels vibe view
    views virtual vista volume wall water wb weighted whole wholebody window with without wo wrist xray yaxis zoom
    """
)
"""Lower case. Common surnames that are also such words stay only where nobody of that name was seen with the case."""

UNITS = words("bpm ch cm d deg hz khz kv kvp ma mas mg mgi mhz min ml mm ms nd rd s sec st t th x")

_FILES = words(
    """
    analysis anat and annotation annotations anonymised anonymized anonymous bids box boxes case cases center
    centre channel class classes clinic cohort confidential config contour contours copy das data dataset datasets
    dcm deidentified department der derivatives des desktop dicom die documents download downloads drive dseg
    dummy example examples export exports false female file files final folder for from ground gt gz home hospital
    image images imagestr imagests img imgs import input inputs instance institute json key klinik label labelmap
    labelmaps labels labelstr labelsts landmarks les list local main male manual master media mha mhd mit mnt
    model models mrb mrml nan net new nhdr nifti nii node none not nrrd null old opt original originals output
    outputs patient patients pic picture pictures png points private processed project projects public radiology
    raw ref root sample samples scene scenes seg segm segmentation segmentations segmented ses session set shared
    site sites source split src srv studies study sub subject subjects target test the tmp train training true
    truth type und university unknown unnamed user users val valid validation var version vol volume volumes von
    work
    """
)

COMMON = IMAGING | UNITS | _FILES
"""Words that identify nobody in a name or a folder."""
