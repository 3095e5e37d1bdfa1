"""What a knee is made of, as magnetic resonance sees it, and the spin-echo equation.

T1 and T2 of muscle, cartilage, synovial fluid, marrow and fat are those of knees at 1.5 T and 3 T in Gold et al.,
"Musculoskeletal MRI at 3.0 T: relaxation times and image contrast", American Journal of Roentgenology 183:343-351
(2004), doi 10.2214/ajr.183.2.1830343. Beside them, Pai et al., Magnetic Resonance Imaging 26:1215-1220 (2008), doi
10.1016/j.mri.2008.02.017, found T2 at 3 T of 36 ms in cartilage and 34 ms in muscle, and of 41 to 160 ms in fat and
marrow, by sequence: of fat no time is the true one.

Tissues of fibres lose their signal so fast that each sequence measures something else. Cruciates and patellar tendon:
about 12, 8 and 5 ms by ultrashort echoes at 1.5 T (Acta Radiologica 2021, doi 10.1177/02841851211043834); the
posterior cruciate has more by common echoes (Wilson et al., Orthopaedic Journal of Sports Medicine 4(4), 2016, doi
10.1177/2325967116639044). The meniscus is given the time of a ligament, so that it is as dark as in patients. Proton
densities are water contents as textbooks give them, relative to water; fat has about as many protons. Values of hurt
tissue (mucoid, oedema, bruised marrow) lie between those of what they are mixtures of: they are guesses.
"""

from dataclasses import dataclass

import numpy as np

from fracturelib._io.files import InputError

FIELDS = (1.5, 3.0)  # tesla
GOLD = "Gold 2004"


@dataclass(frozen=True)
class KneeTissue:
    """A tissue, and what a spin echo hears of it.

    Attributes
    ----------
    proton_density : float
        Relative to water, 0..1.
    t1, t2 : tuple of float
        In ms, at each of `FIELDS`.
    fat : float
        Which part of the protons is fat, 0..1.
    source : str
        Who measured the times, or that they are a guess.
    """

    proton_density: float
    t1: tuple[float, float]
    t2: tuple[float, float]
    fat: float = 0.0
    source: str = GOLD

    def signal(self, *, tr: float, te: float, fat_saturation: float = 0.0, field: float = 3.0) -> float:
        """The signal of a spin echo, relative to that of water with full magnetization.

        The longitudinal magnetization recovers with T1 during TR, the transverse one decays with T2 during TE:
        PD (1 - exp(-TR / T1)) exp(-TE / T2). Fat saturation takes its proportion from the part that is fat.

        Parameters
        ----------
        tr, te : float
            Repetition and echo time in ms, above 0 and from 0.
        fat_saturation : float
            Which part of the fat's signal is taken away, 0 (none) to 1 (all).
        field : float
            1.5 or 3.0 tesla.

        Raises
        ------
        InputError
            If a time or a proportion is out of its range, or there are no values for the field.

        Examples
        --------
        >>> round(TISSUES["fluid"].signal(tr=3000, te=30), 3)
        0.531
        >>> round(TISSUES["fat"].signal(tr=3000, te=30, fat_saturation=0.9), 3)
        0.098
        """
        if not tr > 0:
            raise InputError(f"tr is {tr}; expected a time in ms above 0")
        if not te >= 0:
            raise InputError(f"te is {te}; expected a time in ms from 0")
        if not 0 <= fat_saturation <= 1:
            raise InputError(f"fat_saturation is {fat_saturation}; expected 0 to 1")
        if field not in FIELDS:
            raise InputError(f"field is {field}; expected one of {', '.join(map(str, FIELDS))} (tesla)")
        t1, t2 = (times[FIELDS.index(field)] for times in (self.t1, self.t2))
        recovered = 1 - np.exp(-tr / t1)
        return float(self.proton_density * recovered * np.exp(-te / t2) * (1 - self.fat * fat_saturation))


_GUESS = "a guess"
TISSUES: dict[str, KneeTissue] = {
    "muscle": KneeTissue(0.80, (1130, 1420), (35.3, 31.7)),
    "cartilage": KneeTissue(0.75, (1060, 1240), (42.1, 36.9)),
    "fluid": KneeTissue(0.98, (2850, 3620), (1210, 767)),
    "fat": KneeTissue(0.90, (288, 371), (165, 133), 0.96),
    "marrow": KneeTissue(0.88, (288, 365), (165, 133), 0.93),
    "red marrow": KneeTissue(0.86, (550, 700), (70, 60), 0.60, _GUESS),
    "bruise": KneeTissue(0.88, (1100, 1300), (85, 75), 0.15, _GUESS),
    "cortex": KneeTissue(0.15, (200, 250), (0.5, 0.4), 0.0, "T2*: Reichert 2005"),
    "meniscus": KneeTissue(0.68, (900, 1000), (12, 11), 0.0, "T2: see above"),
    "ligament": KneeTissue(0.66, (800, 900), (12, 11), 0.0, "Acta Radiologica 2021"),
    "tendon": KneeTissue(0.62, (750, 850), (6, 5), 0.0, "Acta Radiologica 2021"),
    "between fibres": KneeTissue(0.72, (1000, 1200), (24, 22), 0.0, _GUESS),
    "mucoid": KneeTissue(0.80, (1300, 1550), (48, 43), 0.0, _GUESS),
    "oedema": KneeTissue(0.90, (1600, 1900), (110, 95), 0.0, _GUESS),
    "septum": KneeTissue(0.75, (1000, 1200), (48, 43), 0.2, _GUESS),
    "vein": KneeTissue(0.55, (1440, 1930), (150, 100), 0.0, "blood: Stanisz 2005"),
    "skin": KneeTissue(0.65, (800, 900), (30, 28), 0.2, _GUESS),
}


def signals(field: float, *, tr: float, te: float) -> dict[str, tuple[float, float]]:
    """Of each tissue the signal of its water and that of its fat, before any fat saturation."""
    whole = {name: tissue.signal(tr=tr, te=te, field=field) for name, tissue in TISSUES.items()}
    return {name: (whole[name] * (1 - tissue.fat), whole[name] * tissue.fat) for name, tissue in TISSUES.items()}
