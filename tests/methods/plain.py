"""A ViT in plain tensors, and every method straight from its formula: the tests' reference.

Nothing is shared with the package but the modules that hold the weights.  A method overrides what its formula
changes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def affine(layer: nn.Module, x: Tensor) -> Tensor:
    return x @ layer.weight.T + (0 if layer.bias is None else layer.bias)


class Plain:
    """Logits of a frozen ``VisionTransformer``; ``model`` is what a method made of one with its weights."""

    def __init__(self, vit: nn.Module, model: nn.Module):
        self.vit, self.model = vit, model

    def norm(self, layer: nn.Module, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt()
        return scaled * layer.weight + layer.bias

    def qkv(self, i: int, n: Tensor) -> Tensor:
        return affine(self.vit.blocks[i].attn.qkv, n)

    def projection(self, i: int, x: Tensor) -> Tensor:
        return affine(self.vit.blocks[i].attn.proj, x)

    def fc1(self, i: int, n: Tensor) -> Tensor:
        return affine(self.vit.blocks[i].mlp.fc1, n)

    def fc2(self, i: int, x: Tensor) -> Tensor:
        return affine(self.vit.blocks[i].mlp.fc2, x)

    def attention(self, i: int, n: Tensor) -> Tensor:
        heads = self.vit.blocks[i].attn.num_heads
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in self.qkv(i, n).chunk(3, dim=-1))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return self.projection(i, (weights @ v).transpose(1, 2).flatten(2))

    def mlp(self, i: int, n: Tensor) -> Tensor:
        hidden = self.fc1(i, n)
        return self.fc2(i, hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5)))

    def norms(self, i: int, place: int, x: Tensor) -> Tensor:
        return self.norm((self.vit.blocks[i].norm1, self.vit.blocks[i].norm2)[place], x)

    def block(self, i: int, x: Tensor) -> Tensor:
        y = x + self.attention(i, self.norms(i, 0, x))
        return y + self.mlp(i, self.norms(i, 1, y))

    def embedded(self, images: Tensor) -> Tensor:
        patches = self.patches(images)
        first = self.vit.cls_token.expand(len(images), -1, -1)
        return torch.cat([first, patches], dim=1) + self.vit.pos_embed

    def patches(self, images: Tensor) -> Tensor:
        projection = self.vit.patch_embed.proj
        maps = F.conv2d(images, projection.weight, projection.bias, stride=projection.stride)
        return maps.flatten(2).transpose(1, 2)

    def tokens(self, images: Tensor) -> Tensor:
        x = self.embedded(images)
        for i in range(len(self.vit.blocks)):
            x = self.block(i, x)
        return x

    def pooled(self, x: Tensor) -> Tensor:
        return self.norm(self.vit.norm, x[:, 0])

    def logits(self, images: Tensor) -> Tensor:
        return affine(self.model.get_classifier(), self.pooled(self.tokens(images)))


class Trained(Plain):
    """The backbone's own tensors, as they are after training."""

    def __init__(self, vit: nn.Module, model: nn.Module):
        super().__init__(model, model)


class VPTShallow(Plain):
    def embedded(self, images: Tensor) -> Tensor:
        x = super().embedded(images)
        prompts = self.model.blocks[0].prompts.expand(len(x), -1, -1)
        return torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1)


class VPTDeep(Plain):
    def block(self, i: int, x: Tensor) -> Tensor:
        prompts = self.model.blocks[i].prompts.expand(len(x), -1, -1)
        out = super().block(i, torch.cat([x[:, :1], prompts, x[:, 1:]], dim=1))
        return torch.cat([out[:, :1], out[:, 1 + prompts.shape[1] :]], dim=1)


class Adapter(Plain):
    def mlp(self, i: int, n: Tensor) -> Tensor:
        u, scaled = super().mlp(i, n), self.model.blocks[i].mlp.after.adapter
        return u + scaled.scale * affine(scaled.module.up, F.gelu(affine(scaled.module.down, u)))


class Houlsby(Adapter):
    def attention(self, i: int, n: Tensor) -> Tensor:
        u, scaled = super().attention(i, n), self.model.blocks[i].attention.after.adapter
        return u + scaled.scale * affine(scaled.module.up, F.gelu(affine(scaled.module.down, u)))


class AdaptFormer(Plain):
    def block(self, i: int, x: Tensor) -> Tensor:
        y = x + self.attention(i, self.norms(i, 0, x))
        scaled = self.model.blocks[i].mlp.beside.adapter
        beside = affine(scaled.module.up, affine(scaled.module.down, y).relu())
        return y + self.mlp(i, self.norms(i, 1, y)) + scaled.scale * beside


class AdapterPlus(Plain):
    def block(self, i: int, x: Tensor) -> Tensor:
        z, own = super().block(i, x), self.model.blocks[i].output
        return z + own.factor * affine(own.adapter.up, F.gelu(affine(own.adapter.down, z)))


class LoRAqv(Plain):
    def qkv(self, i: int, n: Tensor) -> Tensor:
        own = self.model.blocks[i].attn.qkv
        q, k, v = super().qkv(i, n).chunk(3, dim=-1)
        q = q + own.scale * n @ own.a[0].T @ own.b[0].T
        v = v + own.scale * n @ own.a[1].T @ own.b[1].T
        return torch.cat([q, k, v], dim=-1)


class LoRAqkv(Plain):
    def qkv(self, i: int, n: Tensor) -> Tensor:
        own = self.model.blocks[i].attn.qkv
        return super().qkv(i, n) + own.scale * n @ own.a[0].T @ own.b[0].T


class Peft(Plain):
    """peft's methods on the map to queries, keys and values; r = 2 and alpha = 1.4 where there are such."""

    def own(self, i: int) -> nn.Module:
        return self.model.get_base_model().blocks[i].attn.qkv

    def weight(self, i: int) -> Tensor:
        raise NotImplementedError

    def qkv(self, i: int, n: Tensor) -> Tensor:
        return n @ self.weight(i).T + self.vit.blocks[i].attn.qkv.bias

    def frozen(self, i: int) -> Tensor:
        return self.vit.blocks[i].attn.qkv.weight


class PeftLoRA(Peft):
    def weight(self, i: int) -> Tensor:
        own = self.own(i)
        return self.frozen(i) + 0.7 * own.lora_B["default"].weight @ own.lora_A["default"].weight


class PeftDoRA(PeftLoRA):
    def weight(self, i: int) -> Tensor:
        direction = super().weight(i)
        norms = direction.square().sum(1, keepdim=True).sqrt()
        return self.own(i).lora_magnitude_vector["default"].weight[:, None] * direction / norms


class PeftLoHa(Peft):
    def weight(self, i: int) -> Tensor:
        own = self.own(i)
        one = own.hada_w1_a["default"] @ own.hada_w1_b["default"]
        return self.frozen(i) + 0.7 * one * (own.hada_w2_a["default"] @ own.hada_w2_b["default"])


class PeftLoKr(Peft):
    def weight(self, i: int) -> Tensor:
        own = self.own(i)
        right = own.lokr_w2_a["default"] @ own.lokr_w2_b["default"]
        return self.frozen(i) + 0.7 * torch.kron(own.lokr_w1["default"], right)


class PeftOFT(Peft):
    """Blocks of 8, with the exact Cayley transform."""

    def weight(self, i: int) -> Tensor:
        rotations = []
        for entries in self.own(i).oft_R["default"].weight:
            skew = torch.zeros(8, 8)
            skew[tuple(torch.triu_indices(8, 8, 1))] = entries
            skew = skew - skew.T
            rotations.append((torch.eye(8) - skew) @ torch.linalg.inv(torch.eye(8) + skew))
        return self.frozen(i) @ torch.block_diag(*rotations).T


class PeftHRA(Peft):
    def weight(self, i: int) -> Tensor:
        weight = self.frozen(i)
        for u in self.own(i).hra_u["default"].T:
            weight = weight - 2 * torch.outer(weight @ u, u) / (u @ u)
        return weight


class PeftVeRA(Peft):
    def weight(self, i: int) -> Tensor:
        own = self.own(i)
        down = own.vera_lambda_d["default"][:, None] * own.vera_A["default"]
        return self.frozen(i) + own.vera_lambda_b["default"][:, None] * (own.vera_B["default"] @ down)


class PeftIA3(Plain):
    """On the map to queries, keys and values, and on what enters the MLP's second map."""

    def factor(self, i: int, name: str) -> Tensor:
        module = self.model.get_base_model().blocks[i].get_submodule(name)
        return module.ia3_l["default"].flatten()

    def qkv(self, i: int, n: Tensor) -> Tensor:
        return self.factor(i, "attn.qkv") * super().qkv(i, n)

    def fc2(self, i: int, x: Tensor) -> Tensor:
        return super().fc2(i, self.factor(i, "mlp.fc2") * x)


class SSF(Plain):
    def after(self, sequence: nn.Sequential, x: Tensor) -> Tensor:
        return sequence[-1].factor * x + sequence[-1].shift

    def qkv(self, i: int, n: Tensor) -> Tensor:
        return self.after(self.model.blocks[i].attn.qkv, super().qkv(i, n))

    def projection(self, i: int, x: Tensor) -> Tensor:
        return self.after(self.model.blocks[i].attn.proj, super().projection(i, x))

    def fc1(self, i: int, n: Tensor) -> Tensor:
        return self.after(self.model.blocks[i].mlp.fc1, super().fc1(i, n))

    def fc2(self, i: int, x: Tensor) -> Tensor:
        return self.after(self.model.blocks[i].mlp.fc2, super().fc2(i, x))

    def norms(self, i: int, place: int, x: Tensor) -> Tensor:
        block = self.model.blocks[i]
        return self.after((block.norm1, block.norm2)[place], super().norms(i, place, x))

    def patches(self, images: Tensor) -> Tensor:
        return self.after(self.model.patch_embed.norm, super().patches(images))

    def pooled(self, x: Tensor) -> Tensor:
        return self.after(self.model.norm, super().pooled(x))


class Convpass(Plain):
    def bypass(self, dropped: nn.Module, n: Tensor) -> Tensor:
        own, scale = dropped.bypass.module, dropped.bypass.scale
        inner = affine(own.down, n)
        inner = inner * torch.sigmoid(1.702 * inner)
        grid = inner[:, 1:].reshape(len(n), 4, 4, -1).permute(0, 3, 1, 2)
        alone = inner[:, :1].reshape(len(n), 1, 1, -1).permute(0, 3, 1, 2)
        maps = [F.conv2d(one, own.conv.weight, own.conv.bias, padding=1) for one in (alone, grid)]
        mixed = torch.cat([one.flatten(2).transpose(1, 2) for one in maps], dim=1)
        return scale * affine(own.up, mixed * torch.sigmoid(1.702 * mixed))

    def block(self, i: int, x: Tensor) -> Tensor:
        own = self.model.blocks[i]
        n = self.norms(i, 0, x)
        y = x + self.attention(i, n) + self.bypass(own.attention.beside, n)
        n = self.norms(i, 1, y)
        return y + self.mlp(i, n) + self.bypass(own.mlp.beside, n)


class FacT(Plain):
    """Twelve matrices of width x width a block, each with an increment V S_i U."""

    def increment(self, own: nn.Module, part: int, x: Tensor) -> Tensor:
        factors = self.model.factors
        return own.scale * x @ factors.u.T @ self.middle(own, part).T @ factors.v.T

    def middle(self, own: nn.Module, part: int) -> Tensor:
        return own.s[part]

    def outwards(self, own: nn.Module, x: Tensor, parts: int) -> Tensor:
        return torch.cat([self.increment(own, part, x) for part in range(parts)], dim=-1)

    def qkv(self, i: int, n: Tensor) -> Tensor:
        return super().qkv(i, n) + self.outwards(self.model.blocks[i].attn.qkv, n, 3)

    def projection(self, i: int, x: Tensor) -> Tensor:
        return super().projection(i, x) + self.outwards(self.model.blocks[i].attn.proj, x, 1)

    def fc1(self, i: int, n: Tensor) -> Tensor:
        return super().fc1(i, n) + self.outwards(self.model.blocks[i].mlp.fc1, n, 4)

    def fc2(self, i: int, x: Tensor) -> Tensor:
        own, chunks = self.model.blocks[i].mlp.fc2, x.chunk(4, dim=-1)
        return super().fc2(i, x) + sum(self.increment(own, part, chunk) for part, chunk in enumerate(chunks))


class FacTTK(FacT):
    def middle(self, own: nn.Module, part: int) -> Tensor:
        core = self.model.factors.core
        return sum(own.p[part, k] * core[k] for k in range(len(core)))


class RepAdapter(Plain):
    def norms(self, i: int, place: int, x: Tensor) -> Tensor:
        u, own = super().norms(i, place, x), self.model.blocks[i].branches[place].before
        half = own.up.shape[-1]
        inner = affine(own.down, u)
        risen = torch.cat([inner[..., :half] @ own.up[0].T, inner[..., half:] @ own.up[1].T], dim=-1)
        return u + own.scale * (risen + own.bias)


class DTL(Plain):
    def tokens(self, images: Tensor) -> Tensor:
        x, side, depth = self.embedded(images), 0, len(self.vit.blocks)
        for i in range(depth):
            own = self.model.side_maps[str(i)]
            side = side + x @ own.a.weight.T @ own.b.weight.T
            x = self.block(i, x)
            if i >= depth // 2:
                x = x + self.joining(side / (1 + torch.exp(-100 * side)))
        return x

    def joining(self, gated: Tensor) -> Tensor:
        return gated

    def pooled(self, x: Tensor) -> Tensor:
        return self.norm(self.vit.norm, x[:, 1:].mean(1))


class DTLPlus(DTL):
    def joining(self, gated: Tensor) -> Tensor:
        kernel = self.model.convolutions["0"].weight
        maps = gated[:, 1:].transpose(1, 2).reshape(len(gated), -1, 4, 4)
        patches = F.conv2d(maps, kernel, padding=1, groups=len(kernel)).flatten(2).transpose(1, 2)
        return torch.cat([gated[:, :1], patches], dim=1)


class LST(Plain):
    def tokens(self, images: Tensor) -> Tensor:
        x = self.embedded(images)
        h = affine(self.model.downs[0], x)
        for i, side in enumerate(self.model.side):
            x = self.block(i, x)
            gate = torch.sigmoid(self.model.gates[i] / 0.1)
            h = side(gate * affine(self.model.downs[i + 1], x) + (1 - gate) * h)
        return affine(self.model.up, self.norm(self.model.norm, h))


class NOAH(VPTDeep):
    """Blocks 0 and 1 of three have LoRA, 0 and 2 adapters, 1 and 2 prompts."""

    def attn(self, i: int) -> nn.Module:
        block = self.model.blocks[i]
        return (block.block if i else block).attention.inner

    def qkv(self, i: int, n: Tensor) -> Tensor:
        found, own = Plain.qkv(self, i, n), self.attn(i).qkv
        return found if i == 2 else found + n @ own.a[0].T @ own.b[0].T

    def mlp(self, i: int, n: Tensor) -> Tensor:
        u, block = Plain.mlp(self, i, n), self.model.blocks[i]
        if i == 1:
            return u
        own = (block.block if i else block).mlp.after.adapter
        inner = affine(own.down, u)
        return u + affine(own.up, inner * torch.sigmoid(1.702 * inner))

    def block(self, i: int, x: Tensor) -> Tensor:
        return super().block(i, x) if i else Plain.block(self, i, x)
