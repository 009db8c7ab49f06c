"""People, riders, bicycles and motorcycles, built from thin bars."""

import numpy as np

from paddle_pointrend.scenes.canvas import CLOTH, above
from paddle_pointrend.scenes.vehicles import METAL, PAINTS, RUBBER, Frame, disc

SKIN = np.array([[224, 172, 140], [198, 140, 105], [141, 92, 66], [92, 60, 45]], float)


def _clothes(rng):
    palette = np.array(
        [[40, 44, 58], [120, 40, 44], [70, 90, 130], [190, 185, 175], [60, 80, 60], [30, 30, 30],
         [200, 140, 60], [150, 150, 158], [90, 66, 50]], float)  # fmt: skip
    return palette[rng.integers(len(palette))] * rng.uniform(0.8, 1.15)


def _head(scene, neck, top, class_name, skin, scale, helmet=None):
    rng = scene.rng
    hair = np.array([[40, 30, 24], [90, 66, 40], [150, 120, 80], [120, 118, 116]], float)[rng.integers(4)]
    scene.limb(neck, top, 0.055 * scale, 0.06 * scale, class_name, skin * 0.85)
    scene.limb(top, top + above(0.05 * scale), 0.095 * scale, 0.1 * scale, class_name, skin)
    crown = top + above(0.075 * scale)
    scene.limb(crown, crown + above(0.03 * scale), 0.1 * scale, 0.085 * scale, class_name,
               hair if helmet is None else helmet)  # fmt: skip


def person(scene, x, z, heading, floor=0.12):
    """A walking or standing person; arms and legs are single thin bars that swing against each other."""
    rng, frame = scene.rng, Frame(x, z, heading, floor)
    s = rng.normal(1.0, 0.07) * (0.68 if rng.random() < 0.12 else 1.0)
    stride = rng.uniform(0.15, 0.42) if rng.random() < 0.75 else 0.06
    coat, legs, skin = _clothes(rng), _clothes(rng) * 0.8, SKIN[rng.integers(len(SKIN))]
    cover, girth = rng.uniform(0, 0.25), rng.uniform(0.9, 1.2)
    for sign in (-1.0, 1.0):
        hip, knee = (
            frame(0, 0.92 * s, sign * 0.09 * s),
            frame(sign * 0.5 * stride + 0.05, 0.5 * s, sign * 0.1 * s),
        )
        ankle = frame(sign * stride - 0.04, 0.08 * s, sign * 0.1 * s)
        scene.limb(hip, knee, 0.095 * s * girth, 0.065 * s, "person", legs, CLOTH)
        scene.limb(knee, ankle, 0.062 * s, 0.04 * s, "person", legs * 0.95, CLOTH)
        scene.limb(
            ankle,
            frame(sign * stride + 0.14, 0.05, sign * 0.1 * s),
            0.045 * s,
            0.04 * s,
            "person",
            [40, 34, 32],
        )
        scene.cast_bar(ankle, hip, 0.09)
    arms = []
    for sign in (-1.0, 1.0):
        shoulder = frame(0, 1.42 * s, sign * 0.19 * s * girth)
        elbow = frame(-sign * 0.4 * stride - 0.03, 1.14 * s, sign * 0.27 * s)
        hand = frame(-sign * 0.75 * stride + 0.1, 0.92 * s, sign * 0.27 * s)
        arms.append((shoulder[2], shoulder, elbow, hand))
    arms.sort(key=lambda arm: -arm[0])
    _arm(scene, "person", arms[0], coat * 0.85, skin, s)
    scene.limb(
        frame(0, 1.36 * s),
        frame(0, (0.95 - cover) * s),
        0.17 * s * girth,
        0.155 * s * girth,
        "person",
        coat,
        CLOTH,
    )
    scene.limb(frame(0, 1.45 * s, -0.13 * s), frame(0, 1.45 * s, 0.13 * s), 0.07 * s, 0.07 * s, "person", coat, CLOTH)
    _arm(scene, "person", arms[1], coat * 0.92, skin, s)
    if rng.random() < 0.4:
        bag = frame(-0.14, 1.2 * s, 0.05)
        scene.limb(bag, bag - above(0.22), 0.14, 0.15, "person", _clothes(rng), CLOTH)
    _head(scene, frame(0, 1.48 * s), frame(0.02, 1.62 * s), "person", skin, s)
    scene.cast_bar(frame(0, 0.9 * s), frame(0, 1.72 * s), 0.2)


def _arm(scene, class_name, arm, sleeve, skin, s=1.0):
    _, shoulder, elbow, hand = arm
    scene.limb(shoulder, elbow, 0.062 * s, 0.048 * s, class_name, sleeve, CLOTH)
    scene.limb(elbow, hand, 0.046 * s, 0.034 * s, class_name, sleeve * 0.95, CLOTH)
    scene.limb(hand, hand - above(0.06 * s), 0.04 * s, 0.03 * s, class_name, skin)


def _ring(frame, forward, up, outer, inner, steps=28):
    """A wheel's rim as one outline [2 * steps + 2, 3]: around the outside, and back along the inside."""
    angle = np.linspace(0, 2 * np.pi, steps + 1)
    radius = np.repeat([outer, inner], steps + 1)
    angle = np.concatenate([angle, angle[::-1]])
    return frame(forward + radius * np.cos(angle), up + radius * np.sin(angle), 0.0)


def _bicycle_parts(scene, frame, colour):
    rng = scene.rng
    for hub in (-0.52, 0.52):
        scene.add(_ring(frame, hub, 0.34, 0.35, 0.3), "bicycle", RUBBER, loose=True)
        first = rng.uniform(0, np.pi)
        for angle in first + np.arange(4) * np.pi / 4:
            reach = 0.31 * (np.cos(angle) * frame.forward + above(np.sin(angle)))
            middle = frame(hub, 0.34)
            scene.limb(middle - reach, middle + reach, 0.009, 0.009, "bicycle", METAL * 1.2)
        scene.cast([disc(frame, hub, 0.34, 0.0, 0.35)])
    crank, seat, head = frame(-0.06, 0.3), frame(-0.2, 0.86), frame(0.36, 0.84)
    rear, front = frame(-0.52, 0.34), frame(0.52, 0.34)
    for start, end in ((crank, seat), (crank, head), (rear, crank), (rear, frame(-0.17, 0.74)), (head, front),
                       (frame(-0.17, 0.74), frame(0.34, 0.78))):  # fmt: skip
        scene.limb(start, end, 0.024, 0.024, "bicycle", colour)
    bar = frame(0.34, 0.98)
    scene.limb(head, bar, 0.02, 0.02, "bicycle", METAL)
    scene.limb(frame(0.3, 1.0, -0.27), frame(0.3, 1.0, 0.27), 0.022, 0.022, "bicycle", RUBBER)
    scene.limb(frame(-0.32, 0.9), frame(-0.1, 0.91), 0.045, 0.025, "bicycle", RUBBER)
    scene.limb(frame(-0.06, 0.3), frame(0.05, 0.16, 0.08), 0.018, 0.018, "bicycle", METAL)


def bicycle(scene, x, z, heading, floor=0.12):
    """A parked bicycle: open frame, wheels one can see through, spokes."""
    _bicycle_parts(scene, Frame(x, z, heading, floor), PAINTS[scene.rng.integers(len(PAINTS))])


def motorcycle(scene, x, z, heading, floor=0.0):
    """A motorcycle without its rider."""
    rng, frame = scene.rng, Frame(x, z, heading, floor)
    paint = PAINTS[rng.integers(len(PAINTS))]
    for hub in (-0.68, 0.7):
        scene.limb(frame(hub, 0.14), frame(hub, 0.48), 0.07, 0.07, "motorcycle", RUBBER)
        scene.add(_ring(frame, hub, 0.31, 0.32, 0.2), "motorcycle", RUBBER, loose=True)
        for angle in np.arange(3) * np.pi / 3:
            reach = 0.24 * (np.cos(angle) * frame.forward + above(np.sin(angle)))
            middle = frame(hub, 0.31)
            scene.limb(middle - reach, middle + reach, 0.02, 0.02, "motorcycle", METAL)
    scene.limb(frame(-0.68, 0.33), frame(0.05, 0.36, 0.1), 0.05, 0.07, "motorcycle", METAL * 0.9)
    scene.limb(frame(-0.05, 0.38), frame(0.22, 0.45), 0.17, 0.15, "motorcycle", RUBBER * 1.5)
    scene.limb(frame(0.72, 0.31), frame(0.42, 0.95), 0.035, 0.04, "motorcycle", METAL)
    scene.limb(frame(-0.85, 0.78), frame(-0.1, 0.7), 0.07, 0.1, "motorcycle", paint * 0.8)
    scene.limb(frame(0.0, 0.78), frame(0.34, 0.84), 0.14, 0.12, "motorcycle", paint)
    scene.limb(frame(-0.6, 0.84), frame(-0.12, 0.8), 0.06, 0.06, "motorcycle", RUBBER)
    scene.limb(frame(0.36, 1.04, -0.36), frame(0.36, 1.04, 0.36), 0.028, 0.028, "motorcycle", RUBBER)
    scene.limb(frame(0.52, 0.9), frame(0.55, 0.9), 0.1, 0.09, "motorcycle", [230, 230, 215])
    scene.cast([frame(np.array([-0.9, 0.9, 0.5, -0.6]), np.array([0, 0, 0.95, 0.85]))])


def rider(scene, x, z, heading, floor=0.0):
    """A person on a bicycle or a motorcycle, leaning forward, one knee up."""
    rng, frame = scene.rng, Frame(x, z, heading, floor)
    on_motorcycle = rng.random() < 0.4
    if on_motorcycle:
        motorcycle(scene, x, z, heading, floor)
    else:
        bicycle(scene, x, z, heading, floor)
    coat, legs, skin = _clothes(rng), _clothes(rng) * 0.8, SKIN[rng.integers(len(SKIN))]
    hip, chest = frame(-0.22, 0.95), frame(0.05, 1.42)
    pedal = rng.uniform(0, 2 * np.pi)
    arms = []
    for sign in (-1.0, 1.0):
        foot = frame(-0.06 + sign * 0.16 * np.cos(pedal), 0.28 + sign * 0.16 * np.sin(pedal), sign * 0.12)
        knee = frame(0.2 + sign * 0.06 * np.cos(pedal), 0.7 + sign * 0.1 * np.sin(pedal), sign * 0.13)
        scene.limb(hip + sign * 0.07 * frame.right, knee, 0.09, 0.065, "rider", legs, CLOTH)
        scene.limb(knee, foot, 0.06, 0.04, "rider", legs, CLOTH)
        scene.limb(foot, foot + 0.14 * frame.forward, 0.045, 0.035, "rider", [36, 32, 30])
        shoulder = chest + sign * 0.19 * frame.right
        elbow, hand = frame(0.22, 1.2, sign * 0.28), frame(0.32, 1.05, sign * 0.26)
        arms.append((shoulder[2], shoulder, elbow, hand))
    arms.sort(key=lambda arm: -arm[0])
    _arm(scene, "rider", arms[0], coat * 0.85, skin)
    scene.limb(hip, chest, 0.15, 0.17, "rider", coat, CLOTH)
    _arm(scene, "rider", arms[1], coat * 0.92, skin)
    helmet = _clothes(rng) if on_motorcycle or rng.random() < 0.5 else None
    _head(
        scene,
        chest + above(0.1),
        frame(0.12, 1.66),
        "rider",
        skin,
        1.1 if helmet is not None else 1.0,
        helmet,
    )
    scene.cast_bar(frame(-0.2, 0.4), frame(0.1, 1.7), 0.2)
