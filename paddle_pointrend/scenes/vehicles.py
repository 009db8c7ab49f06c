"""Cars, vans, buses, lorries and trams, and the colours and frame that other objects share."""

import numpy as np

GLASS = np.array([52.0, 62.0, 74.0])
RUBBER = np.array([30.0, 30.0, 32.0])
METAL = np.array([118.0, 121.0, 124.0])
PAINTS = np.array(
    [
        [200, 202, 205], [232, 232, 230], [36, 37, 41], [92, 95, 100], [140, 24, 28], [28, 54, 110],
        [66, 84, 70], [150, 128, 96], [205, 160, 40], [110, 116, 122],
    ],
    float,
)  # fmt: skip

# Side views as (length, height, half width) from rear bumper over the roof to front bumper, and what covers
# each edge: p paint, g glass in paint, d the dark lower front.
PROFILES = {
    "saloon": (
        [(-2.2, 0.3, 0.84), (-2.25, 0.85, 0.88), (-1.65, 0.98, 0.87), (-1.15, 1.42, 0.66), (0.3, 1.45, 0.66),
         (1.05, 0.97, 0.85), (2.0, 0.8, 0.84), (2.2, 0.55, 0.82), (2.2, 0.28, 0.8)],
        "ppgpgppd",
    ),
    "hatchback": (
        [(-1.9, 0.3, 0.82), (-1.98, 0.95, 0.86), (-1.6, 1.45, 0.68), (0.25, 1.5, 0.68), (1.0, 1.0, 0.83),
         (1.75, 0.84, 0.82), (1.95, 0.55, 0.8), (1.95, 0.28, 0.78)],
        "pgpgppd",
    ),
    "van": (
        [(-2.3, 0.32, 0.92), (-2.35, 1.1, 0.95), (-2.25, 1.95, 0.86), (1.0, 1.98, 0.86), (1.75, 1.15, 0.92),
         (2.3, 0.95, 0.9), (2.4, 0.35, 0.88)],
        "pgpgpd",
    ),
    "bus": (
        [(-5.8, 0.35, 1.25), (-5.85, 1.3, 1.27), (-5.75, 2.9, 1.25), (5.6, 2.95, 1.25), (5.85, 1.2, 1.27),
         (5.85, 0.35, 1.25)],
        "pgpgp",
    ),
    "tram": (
        [(-9.0, 0.4, 1.15), (-9.4, 1.3, 1.2), (-8.9, 3.1, 1.1), (8.9, 3.1, 1.1), (9.4, 1.3, 1.2),
         (9.0, 0.4, 1.15)],
        "pgpgp",
    ),
    "box": ([(-3.6, 0.75, 1.2), (-3.6, 3.2, 1.2), (1.9, 3.2, 1.2), (1.9, 0.75, 1.2)], "ppp"),
    "cab": (
        [(2.05, 0.45, 1.1), (2.05, 2.4, 1.05), (3.1, 2.45, 1.05), (3.6, 1.35, 1.1), (3.7, 0.45, 1.1)],
        "ppgd",
    ),
}  # fmt: skip


class Frame:
    """Places local points (forward, up, right) of an object at x, z, turned by `heading` (0 faces away)."""

    def __init__(self, x, z, heading=0.0, floor=0.0):
        self.origin = np.array([x, floor, z])
        self.forward = np.array([np.sin(heading), 0.0, np.cos(heading)])
        self.right = np.array([np.cos(heading), 0.0, -np.sin(heading)])

    def __call__(self, forward, up, right=0.0):
        along, across = np.asarray(forward)[..., None], np.asarray(right)[..., None]
        points = self.origin + along * self.forward + across * self.right
        points[..., 1] += up
        return points


def disc(frame, forward, up, right, radius, steps=20):
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return frame(forward + radius * np.cos(angle), up + radius * np.sin(angle), right)


def _side_windows(frame, profile, right, count, class_name, scene, colour):
    """Panes under the roof line: between the two highest points of the profile, down to the shoulder."""
    profile = np.array(profile)
    roof = profile[:, 1].max()
    top = profile[profile[:, 1] > roof - 0.12]
    shoulder = 0.62 * roof if roof < 2.2 else 0.48 * roof
    lean = 0.35 * (roof - shoulder) if roof < 1.7 else 0.1
    edges_top = np.linspace(top[0, 0] + 0.1, top[-1, 0] - 0.08, count + 1)
    edges_low = np.linspace(top[0, 0] - lean + 0.1, top[-1, 0] + 1.6 * lean - 0.1, count + 1)
    gap = 0.05 if roof < 2.2 else 0.1
    for i in range(count):
        pane = frame(
            np.array([edges_low[i] + gap, edges_top[i] + gap, edges_top[i + 1] - gap, edges_low[i + 1] - gap]),
            np.array([shoulder, roof - 0.1, roof - 0.1, shoulder]),
            right * 0.96 if roof < 2.2 else right,
        )
        scene.add(pane, class_name, colour)


def body(scene, frame, profile, covers, class_name, paint, panes):
    """Extruded side view: the faces that look at the camera, far ones first, then the near side."""
    rng, eye = scene.rng, np.array([0.0, scene.camera.height, 0.0])
    glass = GLASS * rng.uniform(0.6, 1.5) + rng.uniform(0, 25)
    faces = []
    for (l0, y0, w0), (l1, y1, w1), cover in zip(profile[:-1], profile[1:], covers):
        quad = frame(np.array([l0, l1, l1, l0]), np.array([y0, y1, y1, y0]), np.array([-w0, -w1, w1, w0]))
        normal = np.cross(quad[1] - quad[0], quad[3] - quad[0])  # the world's axes are left-handed
        if np.dot(normal, eye - quad.mean(0)) > 0:
            faces.append((-np.linalg.norm(quad.mean(0) - eye), quad, normal, cover))
    for _, quad, normal, cover in sorted(faces, key=lambda face: face[0]):
        shade = scene.light.shade(normal)
        scene.add(quad, class_name, (paint if cover != "d" else paint * 0.55) * shade)
        if cover == "g":
            inner = quad.mean(0) + (quad - quad.mean(0)) * np.array([0.86, 0.88, 0.88])
            scene.add(inner, class_name, glass + 18 * max(normal[1], 0))
    points = np.array(profile)
    for sign in (-1.0, 1.0):
        if np.dot(frame.right * sign, eye - frame.origin) > points[:, 2].max():
            side = frame(points[:, 0], points[:, 1], points[:, 2] * sign)
            scene.add(side, class_name, paint * scene.light.shade(frame.right * sign))
            low = points[points[:, 1] < 0.6]
            sill = frame(
                np.array([low[0, 0], low[0, 0], low[-1, 0], low[-1, 0]]),
                np.array([points[0, 1], points[0, 1] + 0.14, points[0, 1] + 0.14, points[0, 1]]),
                sign * points[0, 2],
            ) if len(low) > 1 else None  # fmt: skip
            if sill is not None:
                scene.add(sill, class_name, paint * 0.45)
            if panes:
                _side_windows(frame, profile, sign * points[:, 2].mean(), panes, class_name, scene, glass)
            return sign
    return 0.0


def _wheels(scene, frame, class_name, axles, radius, half_width, side):
    for axle in axles:
        for sign in (-1.0, 1.0):
            tread = frame(
                np.full(4, axle),
                np.array([0, 2 * radius, 2 * radius, 0]),
                sign * np.array([1, 1, 0.74, 0.74]) * half_width,
            )
            if side != sign:
                scene.add(tread, class_name, RUBBER)
    return [(axle, radius) for axle in axles] if side else []


def _near_wheels(scene, frame, class_name, wheels, right):
    for axle, radius in wheels:
        scene.add(disc(frame, axle, radius, right, radius * 1.12), class_name, RUBBER * 0.6)
        scene.add(disc(frame, axle, radius, right * 1.01, radius), class_name, RUBBER)
        scene.add(disc(frame, axle, radius, right * 1.02, radius * 0.62), class_name, METAL * 1.2)
        scene.add(disc(frame, axle, radius, right * 1.03, radius * 0.25), class_name, METAL * 0.5)


def _end_details(scene, frame, class_name, profile, heading_away):
    """Lamps and number plate on the end that looks at the camera."""
    length, _, half = profile[0] if heading_away else profile[-1]
    length += -0.04 if heading_away else 0.04
    if np.dot(frame.forward * (-1 if heading_away else 1), -frame(length, 0.6)) < 0:
        return
    low = profile[0][1] + 0.32
    lamp = np.array([190.0, 30, 26]) if heading_away else np.array([240.0, 238, 225])
    for sign in (-1.0, 1.0):
        box = frame(
            np.full(4, length),
            np.array([low, low + 0.2, low + 0.2, low]),
            sign * half * np.array([0.96, 0.96, 0.7, 0.7]),
        )
        scene.add(box, class_name, lamp)
    plate = frame(np.full(4, length), np.array([low - 0.1, low + 0.03, low + 0.03, low - 0.1]),
                  np.array([-0.26, -0.26, 0.26, 0.26]))  # fmt: skip
    scene.add(plate, class_name, [225, 225, 215])


def _vehicle_shadow(scene, frame, profile):
    points = np.array(profile)
    low, high, half = points[:, 0].min(), points[:, 0].max(), points[:, 2].max() * 1.04
    roof = points[points[:, 1] > 0.8 * points[:, 1].max()]
    forward, right = np.array([low, low, high, high]), np.array([-half, half, half, -half])
    scene.cast([frame(forward, 0.0, right), frame(forward, 0.45, right)])
    scene.cast([frame(np.array([roof[0, 0], roof[0, 0], roof[-1, 0], roof[-1, 0]]), points[:, 1].max(), right)])


def car(scene, x, z, heading):
    """A saloon, hatchback or van at (x, z)."""
    rng, frame = scene.rng, Frame(x, z, heading)
    profile, covers = PROFILES[rng.choice(["saloon", "hatchback", "van"], p=[0.42, 0.4, 0.18])]
    paint = PAINTS[rng.integers(len(PAINTS))] * rng.uniform(0.85, 1.1) + rng.normal(0, 6, 3)
    _vehicle(scene, frame, "car", profile, covers, paint, 2 if profile[0][1] < 0.31 else 3, 0.32, 1.32)


def _vehicle(scene, frame, class_name, profile, covers, paint, panes, radius, axle):
    _vehicle_shadow(scene, frame, profile)
    half = profile[0][2]
    eye_side = np.sign(np.dot(frame.right, -frame.origin))
    side = eye_side if abs(np.dot(frame.right, -frame.origin)) > half * 1.08 else 0.0
    wheels = _wheels(scene, frame, class_name, (-axle, axle), radius, half, side)
    body(scene, frame, profile, covers, class_name, paint, panes)
    _end_details(scene, frame, class_name, profile, True)
    _end_details(scene, frame, class_name, profile, False)
    _near_wheels(scene, frame, class_name, wheels, side * half)


def bus(scene, x, z, heading):
    """A city bus."""
    paint = np.array([[205, 170, 40], [190, 40, 40], [225, 225, 225], [40, 90, 150]], float)[scene.rng.integers(4)]
    _vehicle(scene, Frame(x, z, heading), "bus", *PROFILES["bus"], paint, 7, 0.48, 3.6)


def train(scene, x, z, heading):
    """A tram of one or two carriages on rails."""
    rng = scene.rng
    paint = np.array([[200, 190, 60], [170, 40, 50], [220, 222, 224], [60, 110, 80]], float)[rng.integers(4)]
    frame = Frame(x, z, heading)
    if rng.random() < 0.5:
        behind = frame.origin + 19 * frame.forward * np.sign(frame.forward[2])
        _vehicle(scene, Frame(behind[0], behind[2], heading), "train", *PROFILES["tram"], paint, 8, 0.3, 6.0)
    _vehicle(scene, frame, "train", *PROFILES["tram"], paint, 8, 0.3, 6.0)


def truck(scene, x, z, heading):
    """A lorry: box body and cab; the farther of the two first."""
    rng, frame = scene.rng, Frame(x, z, heading)
    cab = PAINTS[rng.integers(len(PAINTS))]
    box = np.array([[225, 225, 222], [180, 185, 190], [90, 120, 90], [170, 120, 70]], float)[rng.integers(4)]
    parts = [("box", box, 0), ("cab", cab, 1)]
    if frame.forward[2] > 0:
        parts.reverse()
    half = 1.15
    side = np.sign(np.dot(frame.right, -frame.origin))
    side = side if abs(np.dot(frame.right, -frame.origin)) > half * 1.08 else 0.0
    wheels = _wheels(scene, frame, "truck", (-2.4, 2.7), 0.48, half, side)
    chassis = frame(np.array([-3.5, -3.5, 3.5, 3.5]), np.array([0.5, 0.8, 0.8, 0.5]), side * half * 0.9)
    scene.add(chassis, "truck", RUBBER * 1.3)
    for name, paint, panes in parts:
        _vehicle_shadow(scene, frame, PROFILES[name][0])
        body(scene, frame, *PROFILES[name], "truck", paint, panes)
    _end_details(scene, frame, "truck", PROFILES["box"][0], True)
    _end_details(scene, frame, "truck", PROFILES["cab"][0], False)
    _near_wheels(scene, frame, "truck", wheels, side * half)
