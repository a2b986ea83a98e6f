"""Hydrogens placed on heavy atoms, batched and scriptable: the plan of a molecule carried out."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TURNS = 24
"""Orientations tried for a free group in a round."""

TORSION, FLIP, ORIENTATION = 0, 1, 2
"""What is free in a group, as the plan numbers it."""


def turns_about_z() -> Tensor:
    """Return rotations [TURNS, 3, 3] about z by multiples of 15 degrees, the identity first."""
    angle = torch.arange(TURNS, dtype=torch.float64) * (2.0 * torch.pi / TURNS)
    turns = torch.zeros(TURNS, 3, 3, dtype=torch.float64)
    turns[:, 0, 0] = turns[:, 1, 1] = torch.cos(angle)
    turns[:, 1, 0] = torch.sin(angle)
    turns[:, 0, 1] = -torch.sin(angle)
    turns[:, 2, 2] = 1.0
    return turns


def turns_of_orientation() -> Tensor:
    """Return rotations [TURNS, 3, 3] about x, y and z, the identity first (and last, as filling).

    Large ones find a hydrogen bond and small ones better it, as one round follows another.
    """
    turns = torch.eye(3, dtype=torch.float64).repeat(TURNS, 1, 1)
    number = 1
    for axis in range(3):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        for degrees in (20, -20, 60, -60, 110, -110, 180):
            angle = torch.tensor(degrees * torch.pi / 180.0, dtype=torch.float64)
            turns[number, i, i] = turns[number, j, j] = torch.cos(angle)
            turns[number, j, i] = torch.sin(angle)
            turns[number, i, j] = -torch.sin(angle)
            number += 1
    return turns


class HydrogenPlacer(nn.Module):
    """Places a molecule's hydrogens on its heavy atoms; lengths in nm.

    The plan (`systems.hydrogen_plan.HydrogenPlan`) names for each group of hydrogens a local frame
    built on heavy atoms. ``forward(heavy [B, H, 3], previous [B, A, 3]) -> [B, A, 3]`` puts each
    hydrogen where it stood in its frame in the frame before, vibrations and free torsions included,
    so that the ensemble of both is kept; a free group that then overlaps with other atoms is
    turned. ``ideal(heavy) -> [B, A, 3]`` starts from the ideal places of the plan and turns every
    free group.

    A turn is the best of 24 (15 degrees apart about the bond; for a group without heavy neighbour,
    about three axes) in an energy of torsion, Lennard-Jones contacts and charges screened by a
    distance-dependent dielectric of 4 r. Groups turn in rounds; in one round only those gain
    that gain more than every group near them, so that no two groups turn into each other, and the
    energy falls with each round. No random numbers; frames of a batch do not know of each other.

    Parameters
    ----------
    plan : dict of str to Tensor
        ``HydrogenPlan.tensors()``
    """

    reach_nm: Final[float] = 0.5
    clash_kj_per_mol: Final[float] = 10.0
    least_gain_kj_per_mol: Final[float] = 0.1
    # 1 / (4 pi epsilon zero) = 138.935 kJ/mol nm, over a dielectric of 4 r with r in angstrom.
    coulomb: Final[float] = 138.935 / 40.0
    rounds: Final[int] = 40
    slots: Final[int] = 4
    chunk_elements: Final[int] = 4_000_000

    def __init__(self, plan: dict[str, Tensor]) -> None:
        super().__init__()
        self.atoms: int = plan["radius_nm"].shape[0]
        self.num_free: int = plan["free"].shape[0]
        for name in ("heavy", "hydrogens", "group", "parent", "neighbours", "reference", "free"):
            self.register_buffer(name, plan[name])
        self.register_buffer("first_neighbour", plan["neighbours"][:, 0])
        self.register_buffer("count", plan["neighbour_count"])
        self.register_buffer("local", plan["local_nm"].float())
        group, free = plan["group"], plan["free"]
        groups = plan["parent"].shape[0]
        # Hydrogens of the free groups in slots; a slot that is not used names atom 0.
        hydrogen_slot = torch.zeros(len(free), self.slots, dtype=torch.int64)
        slot_mask = torch.zeros(len(free), self.slots)
        number_of = torch.full((groups,), -1, dtype=torch.int64)
        number_of[free] = torch.arange(len(free))
        free_of_atom = torch.full((self.atoms,), -1, dtype=torch.int64)
        for h, g in zip(plan["hydrogens"].tolist(), group.tolist(), strict=True):
            f = int(number_of[g])
            if f >= 0:
                slot = int(slot_mask[f].sum())
                hydrogen_slot[f, slot] = h
                slot_mask[f, slot] = 1.0
                free_of_atom[h] = f
        self.register_buffer("hydrogen_slot", hydrogen_slot)
        self.register_buffer("slot_mask", slot_mask)
        self.register_buffer("free_of_atom", free_of_atom)
        self.register_buffer("free_parent", plan["parent"][free])
        self.register_buffer("cosines", plan["free_cosines"].float())
        self.register_buffer(
            "excluded", plan["excluded"][:, 0] * self.atoms + plan["excluded"][:, 1]
        )
        first = hydrogen_slot[:, 0]
        for name in ("radius_nm", "depth_kj_per_mol", "charge"):
            self.register_buffer(name, plan[name].float())
            self.register_buffer("free_" + name, plan[name][first].float())
        # Which turns a group may make: all (a like triple only those below 120 degrees, which
        # would exchange its labels), or the two sides of a pyramid.
        allowed = torch.zeros(len(free), TURNS, dtype=torch.bool)
        turns = turns_about_z().repeat(len(free), 1, 1, 1)
        for f, motion in enumerate(plan["free_motion"].tolist()):
            if motion == FLIP:
                allowed[f, [0, TURNS // 2]] = True
            elif motion == ORIENTATION:
                allowed[f] = True
                turns[f] = turns_of_orientation()
            else:
                like_triple = float(slot_mask[f].sum()) == 3
                allowed[f, : TURNS // 3 if like_triple else TURNS] = True
        self.register_buffer("turns", turns.float())
        # Turns that are not allowed cost more than anything; of equal ones the smallest is taken.
        cost = 1e-3 * torch.arange(TURNS).expand(len(free), TURNS)
        self.register_buffer("turn_cost", torch.where(allowed, cost, torch.full((), 1e30)))

    def forward(self, heavy: Tensor, previous: Tensor) -> Tensor:
        """Place hydrogens as they stood in the frame before; turn free groups that clash.

        Parameters
        ----------
        heavy : Tensor [B, H, 3]
            new heavy atoms
        previous : Tensor [B, A, 3]
            the frame before, with hydrogens

        Returns
        -------
        Tensor [B, A, 3]
        """
        local = self.local_places(previous)
        return self.place(heavy, local, self.clash_kj_per_mol)

    @torch.jit.export
    def ideal(self, heavy: Tensor) -> Tensor:
        """Place hydrogens ideally and turn every free group to where its energy is lowest.

        Parameters
        ----------
        heavy : Tensor [B, H, 3]

        Returns
        -------
        Tensor [B, A, 3]
        """
        local = self.local.unsqueeze(0).expand(heavy.shape[0], -1, -1)
        return self.place(heavy, local, -1e30)

    def frames(self, x: Tensor) -> Tensor:
        """Return the axes [B, G, 3, 3] (rows x, y, z) of each group's frame, from [B, A, 3]."""
        parent = x.index_select(1, self.parent)
        to_neighbour = x.index_select(1, self.neighbours.flatten()).unflatten(1, [-1, 3])
        # A neighbour that stands for "none" is the parent itself, and its vector stays zero.
        unit = F.normalize(to_neighbour - parent.unsqueeze(2), dim=-1, eps=1e-6)
        first, second = unit[:, :, 0], unit[:, :, 1]
        count = self.count.reshape(1, -1, 1)
        away = -unit.sum(2)
        # Three neighbours: at equal angles to all, which small rings need.
        normal = torch.linalg.cross(second - first, unit[:, :, 2] - first, dim=-1)
        side = (normal * away).sum(-1, keepdim=True)
        normal = torch.where(side < 0.0, -normal, normal)
        away = torch.where(count == 3, normal, away)
        length = torch.linalg.vector_norm(away, dim=-1, keepdim=True)
        z = torch.where(length > 1e-4, away / length.clamp_min(1e-4), self.axis(x, 2))
        # One neighbour: towards the reference atom, seen from the neighbour.
        side = x.index_select(1, self.reference) - x.index_select(1, self.first_neighbour)
        side = torch.where(count == 2, torch.linalg.cross(first, second, dim=-1), side)
        side = torch.where(count == 3, first - second, side)
        y = side - (side * z).sum(-1, keepdim=True) * z
        # A reference on the axis says nothing of the torsion: any perpendicular will do.
        axis = torch.where(z[:, :, 0:1].abs() < 0.7, self.axis(x, 0), self.axis(x, 1))
        other = axis - (axis * z).sum(-1, keepdim=True) * z
        length = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
        bound = 1e-3 * torch.linalg.vector_norm(side, dim=-1, keepdim=True) + 1e-6
        y = F.normalize(torch.where(length > bound, y, other), dim=-1, eps=1e-6)
        return torch.stack([torch.linalg.cross(y, z, dim=-1), y, z], dim=2)

    def axis(self, like: Tensor, number: int) -> Tensor:
        """Return a fixed axis [3] of the type of another tensor."""
        axis = torch.zeros(3, dtype=like.dtype, device=like.device)
        axis[number] = 1.0
        return axis

    def local_places(self, x: Tensor) -> Tensor:
        """Return where each hydrogen stands in its group's frame [B, N, 3], from [B, A, 3]."""
        axes = self.frames(x).index_select(1, self.group)
        parent = x.index_select(1, self.parent.index_select(0, self.group))
        arm = x.index_select(1, self.hydrogens) - parent
        return (axes @ arm.unsqueeze(-1)).squeeze(-1)

    def place(self, heavy: Tensor, local: Tensor, threshold: float) -> Tensor:
        """Put hydrogens at their places in the frames; turn free groups above a threshold.

        Parameters
        ----------
        heavy : Tensor [B, H, 3]
        local : Tensor [B, N, 3]
            places in the groups' frames
        threshold : float
            Lennard-Jones energy (kJ/mol) above which a group is turned

        Returns
        -------
        Tensor [B, A, 3]
        """
        x = torch.zeros(
            heavy.shape[0], self.atoms, 3, dtype=heavy.dtype, device=heavy.device
        ).index_copy(1, self.heavy, heavy)
        axes = self.frames(x)
        of_hydrogen = axes.index_select(1, self.group)
        parent = x.index_select(1, self.parent.index_select(0, self.group))
        arm = (local.unsqueeze(2) @ of_hydrogen).squeeze(2)
        x = x.index_copy(1, self.hydrogens, parent + arm)
        free = self.num_free
        if free == 0:
            return x
        axes = axes.index_select(1, self.free)
        size = max(1, self.chunk_elements // (free * self.atoms))
        parts: list[Tensor] = []
        for start in range(0, x.shape[0], size):
            stop = min(start + size, x.shape[0])
            parts.append(self.settle(x[start:stop], axes[start:stop], threshold))
        return torch.cat(parts, dim=0)

    def near_pairs(self, origin: Tensor, x: Tensor) -> Tensor:
        """Return the pairs [P, 2] (walker, group x A + atom) of a group and an atom in its reach.

        `origin` [B, F, 3] are the groups' parents, x [B, A, 3] all atoms. Atoms that the plan
        excludes are left out.
        """
        square = torch.zeros(x.shape[0], self.num_free, self.atoms, dtype=x.dtype, device=x.device)
        for axis in range(3):
            difference = origin[:, :, None, axis] - x[:, None, :, axis]
            square = square.addcmul_(difference, difference)
        near = (square < self.reach_nm * self.reach_nm).reshape(x.shape[0], -1)
        return near.index_fill(1, self.excluded, False).nonzero()

    def movers(self, gain: Tensor, row: Tensor, other_row: Tensor) -> Tensor:
        """Return which rows [R] turn: those that gain more than every row near them.

        Of equals the one named first turns. `row` and `other_row` [P] are pairs of groups near each
        other (a group with itself where the atom of a pair belongs to no free group).
        """
        mine, theirs = gain.index_select(0, row), gain.index_select(0, other_row)
        waits = (theirs > mine) | ((theirs == mine) & (other_row < row))
        waiting = torch.zeros(gain.shape[0], dtype=torch.int64, device=gain.device)
        waiting = waiting.index_add(0, row, waits.to(torch.int64))
        return (gain > 0) & (waiting == 0)

    def settle(self, x: Tensor, axes: Tensor, threshold: float) -> Tensor:
        """Turn free groups; x [B, A, 3] with hydrogens, axes [B, F, 3, 3] of the free groups."""
        batch, atoms = x.shape[0], self.atoms
        free = self.num_free
        rows = batch * free
        origin = x.index_select(1, self.free_parent)
        # A row is a free group of a walker, a place an atom of a walker.
        pairs = self.near_pairs(origin, x)
        number = torch.div(pairs[:, 1], atoms, rounding_mode="floor")
        atom = pairs[:, 1] - number * atoms
        row = pairs[:, 0] * free + number
        place = pairs[:, 0] * atoms + atom
        other = self.free_of_atom.index_select(0, atom)
        other_row = torch.where(other >= 0, pairs[:, 0] * free + other, row)

        x = x.reshape(batch * atoms, 3)
        origin = origin.reshape(rows, 3)
        axes = axes.reshape(rows, 3, 3)
        of_row = torch.arange(rows, device=x.device) % free
        first = torch.div(torch.arange(rows, device=x.device), free, rounding_mode="floor")
        slots = self.hydrogen_slot.index_select(0, of_row) + (first * atoms).unsqueeze(1)
        used = self.slot_mask.index_select(0, of_row) > 0
        for _ in range(self.rounds):
            arms = x.index_select(0, slots.flatten()).reshape(rows, self.slots, 3)
            arms = arms - origin.unsqueeze(1)
            now = self.contacts(
                (arms + origin.unsqueeze(1)).unsqueeze(1), row, number, atom, place, x, 0.0
            )
            chosen = (now[:, 0] > threshold).nonzero()[:, 0]
            if chosen.shape[0] == 0:
                break
            compact = torch.full((rows,), -1, dtype=torch.int64, device=x.device)
            compact[chosen] = torch.arange(chosen.shape[0], device=x.device)
            kept = (compact.index_select(0, row) >= 0).nonzero()[:, 0]
            groups = of_row.index_select(0, chosen)
            frame = axes.index_select(0, chosen)
            local = arms.index_select(0, chosen) @ frame.transpose(1, 2)
            turns = self.turns.index_select(0, groups).to(x.dtype)
            turned = local.unsqueeze(1) @ turns.transpose(2, 3)
            candidates = turned @ frame.unsqueeze(1) + origin.index_select(0, chosen).reshape(
                -1, 1, 1, 3
            )
            energy = self.contacts(
                candidates,
                compact.index_select(0, row.index_select(0, kept)),
                number.index_select(0, kept),
                atom.index_select(0, kept),
                place.index_select(0, kept),
                x,
                self.coulomb,
            )
            energy = energy + self.torsion_energy(turned, groups)
            energy = energy + self.turn_cost.index_select(0, groups).to(x.dtype)
            best = energy.argmin(dim=1, keepdim=True)
            gained = energy[:, 0] - energy.gather(1, best)[:, 0]
            gain = torch.zeros(rows, dtype=x.dtype, device=x.device)
            gain[chosen] = torch.where(
                gained > self.least_gain_kj_per_mol, gained, torch.zeros_like(gained)
            )
            moves = self.movers(gain, row, other_row).index_select(0, chosen).nonzero()[:, 0]
            if moves.shape[0] == 0:
                break
            moved = chosen.index_select(0, moves)
            picked = candidates.index_select(0, moves)
            picked = picked.gather(
                1, best.index_select(0, moves).reshape(-1, 1, 1, 1).expand(-1, 1, self.slots, 3)
            )[:, 0]
            is_used = used.index_select(0, moved)
            x = x.index_copy(0, slots.index_select(0, moved)[is_used], picked[is_used])
        return x.reshape(batch, atoms, 3)

    def contacts(
        self,
        hydrogens: Tensor,
        row: Tensor,
        number: Tensor,
        atom: Tensor,
        place: Tensor,
        x: Tensor,
        coulomb: float,
    ) -> Tensor:
        """Return contact energies (kJ/mol) of groups in several orientations.

        Parameters
        ----------
        hydrogens : Tensor [R, K, 4, 3]
            positions of R groups in K orientations
        row : Tensor [P] int64
            of each pair, the number of the group in `hydrogens`
        number, atom : Tensor [P] int64
            free group and atom of each pair
        place : Tensor [P] int64
            row of the atom in `x`
        x : Tensor [B A, 3]
        coulomb : float
            weight of the charges, kJ/mol nm^2; 0 leaves them out

        Returns
        -------
        Tensor [R, K]
        """
        size = self.free_radius_nm.index_select(0, number) + self.radius_nm.index_select(0, atom)
        depth = torch.sqrt(
            self.free_depth_kj_per_mol.index_select(0, number)
            * self.depth_kj_per_mol.index_select(0, atom)
        )
        charges = self.free_charge.index_select(0, number) * self.charge.index_select(0, atom)
        points = x.index_select(0, place).reshape(-1, 1, 1, 3)
        difference = hydrogens.index_select(0, row) - points
        square = (difference * difference).sum(-1).clamp_min(2.5e-3)
        ratio = (size * size).reshape(-1, 1, 1) / square
        sixth = ratio * ratio * ratio
        energy = depth.reshape(-1, 1, 1) * (sixth * sixth - 2.0 * sixth)
        energy = energy + coulomb * charges.reshape(-1, 1, 1) / square
        mask = self.slot_mask.index_select(0, number).to(x.dtype).unsqueeze(1)
        energy = (energy * mask).sum(-1)
        total = torch.zeros(hydrogens.shape[0], hydrogens.shape[1], dtype=x.dtype, device=x.device)
        return total.index_add(0, row, energy)

    def torsion_energy(self, local: Tensor, groups: Tensor) -> Tensor:
        """Return torsion energies (kJ/mol) [R, K] of places [R, K, 4, 3] in the groups' frames."""
        torsion = torch.atan2(local[..., 0], local[..., 1])
        c = self.cosines.index_select(0, groups).reshape(-1, 3, 1, 1)
        energy = (
            c[:, 0] * torch.cos(torsion)
            + c[:, 1] * torch.cos(2.0 * torsion)
            + c[:, 2] * torch.cos(3.0 * torsion)
        )
        mask = self.slot_mask.index_select(0, groups).unsqueeze(1)
        return (energy * mask).sum(-1) / mask.sum(-1)
