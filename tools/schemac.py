#!/usr/bin/env python3
"""Compiles api/*.schema to the C tables of src/schema/schema.h.

usage: schemac.py --out TABLES.c FILE.schema ...

A schema file holds one API group; a version line opens a section, in which names are looked up first.

    group core              the group as in apiVersion; core is the legacy group ""
    version v1
    package io.k8s.api.core.v1      prefix of the OpenAPI names

    enum  ServiceType [in-order] = ...              a string, nothing else is accepted; in-order: as written in messages
    words SecretType = Opaque kubernetes.io/tls     a string, these are known
    words UID                                       a string with a name
    strings Verbs -- help                           a list of strings, on the wire a message {repeated items = 1}
    type PodSpec [atomic] -- help                   an object; atomic: merged as a whole
    kind Pod -- help                                an object with apiVersion and kind
        NAME TYPE NUMBER MARKS -- help              a field (the line begins with a tab)
        inline TYPE NUMBER                          fields of TYPE stand here in JSON; NUMBER is its field on the wire

TYPE is a name of this section, FILE.name of another group (meta.ObjectMeta), []TYPE, {}TYPE (a map from strings),
*TYPE (not given differs from zero) or: string bool int32 int64 uint32 double bytes Quantity IntOrString Time MicroTime
Duration FieldsV1 RawExtension JSON JSONSchemaPropsOrBool JSONSchemaPropsOrArray JSONSchemaPropsOrStringArray.
NUMBER is the protobuf field number, - for a field that has none.

MARKS   required          OpenAPI's word; implies keep
        keep              written even when empty
        must              enforced: not missing, not empty
        list=atomic|set|map(key,…)         how apply merges the list
        patch=merge|replace|retainKeys[,…][(key)]   how strategic merge patch merges it
        atomic            a map or object that is merged as a whole
        default=JSON      filled in when missing
        min=N max=N       enforced limits of a number
        fixed             cannot change after creation
        says="..."        upstream's words for what the field's rule refuses, where they are its own
"""
import argparse
import os
import re
import sys

SCALARS = {
    'string': 'STRING', 'bool': 'BOOL', 'int32': 'INT32', 'int64': 'INT64', 'uint32': 'UINT32', 'double': 'DOUBLE',
    'bytes': 'BYTES', 'Quantity': 'QUANTITY', 'IntOrString': 'INT_OR_STRING', 'Time': 'TIME',
    'MicroTime': 'MICRO_TIME', 'Duration': 'DURATION', 'FieldsV1': 'FIELDS_V1', 'RawExtension': 'RAW', 'JSON': 'JSON',
    'JSONSchemaPropsOrBool': 'OR_BOOL', 'JSONSchemaPropsOrArray': 'OR_LIST',
    'JSONSchemaPropsOrStringArray': 'OR_STRINGS',
}
META = 'io.k8s.apimachinery.pkg.apis.meta.v1.'
CRD = 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.'
SCALAR_NAMES = {
    'Quantity': 'io.k8s.apimachinery.pkg.api.resource.Quantity',
    'IntOrString': 'io.k8s.apimachinery.pkg.util.intstr.IntOrString',
    'RawExtension': 'io.k8s.apimachinery.pkg.runtime.RawExtension',
    'Time': META + 'Time', 'MicroTime': META + 'MicroTime', 'Duration': META + 'Duration',
    'FieldsV1': META + 'FieldsV1', 'JSON': CRD + 'JSON', 'JSONSchemaPropsOrBool': CRD + 'JSONSchemaPropsOrBool',
    'JSONSchemaPropsOrArray': CRD + 'JSONSchemaPropsOrArray',
    'JSONSchemaPropsOrStringArray': CRD + 'JSONSchemaPropsOrStringArray',
}
SCALAR_HELP = {
    'Quantity': 'An amount such as 100m, 2 or 1.5Gi.', 'IntOrString': 'A number, or a word such as 25% or http.',
    'RawExtension': 'Any object.', 'Time': 'A time as RFC 3339, in seconds.', 'FieldsV1': 'A set of fields.',
    'MicroTime': 'A time as RFC 3339, in microseconds.', 'Duration': 'A duration such as 1h2m3s.',
    'JSON': 'Any JSON value.', 'JSONSchemaPropsOrBool': 'A schema, or true or false.',
    'JSONSchemaPropsOrArray': 'A schema, or a list of schemas.',
    'JSONSchemaPropsOrStringArray': 'A schema, or a list of field names.',
}


class Problem(Exception):
    pass


class Field:
    def __init__(self, name, text, number):
        self.name, self.text, self.number = name, text, number
        self.pointer = text.startswith('*')
        self.help, self.marks, self.type = '', {}, None
        self.inlined = False


class Type:
    def __init__(self, word, name, section):
        self.word, self.name, self.section = word, name, section
        self.fields, self.embeds, self.values = [], [], []
        self.atomic, self.help, self.where = False, '', ''
        self.full = section.package + '.' + name
        self.flat = None


class Section:
    def __init__(self, file, group):
        self.file, self.group, self.version, self.package = file, group, '', ''
        self.types = {}


def split_words(text):
    """Words; a double-quoted part keeps its blanks, the quotes of whole words go."""
    out = re.findall(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+', text)
    return [w[1:-1] if w.startswith('"') and w.endswith('"') else w for w in out]


def parse_marks(words):
    marks = {}
    for w in re.findall(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+', words):
        key, eq, value = w.partition('=')
        if key not in ('required', 'keep', 'must', 'list', 'patch', 'atomic', 'default', 'min', 'max', 'fixed', 'says'):
            raise Problem('unknown mark "%s"' % w)
        marks[key] = value if eq else True
    return marks


def parse_field(line, current):
    text, _, help_ = line.strip().partition(' -- ')
    parts = text.split(None, 3)
    if len(parts) < 3:
        raise Problem('a field needs a name, a type and a number')
    name, type_, number = parts[:3]
    if number != '-' and not number.isdigit():
        raise Problem('"%s" is not a wire number' % number)
    f = Field(name, type_, 0 if number == '-' else int(number))
    f.help = help_.strip()
    f.marks = parse_marks(parts[3] if len(parts) > 3 else '')
    (current.embeds if name == 'inline' else current.fields).append(f)


def parse_head(line, section):
    text, _, help_ = line.partition(' -- ')
    head, _, values = text.partition(' = ')
    words = head.split()
    t = Type(words[0], words[1], section)
    t.help, t.values, t.atomic = help_.strip(), split_words(values), 'atomic' in words[2:]
    t.in_order = 'in-order' in words[2:]
    if t.name in section.types:
        raise Problem('"%s" is there twice' % t.name)
    section.types[t.name] = t
    return t


def parse_file(path):
    sections, current, section, group = [], None, None, None
    file = os.path.splitext(os.path.basename(path))[0]
    joined = []
    for no, raw in enumerate(open(path, encoding='utf-8'), 1):
        raw = raw.rstrip('\n')
        if current is not None and current.word in ('enum', 'words') and raw.startswith('\t'):
            current.values += split_words(raw)
            continue
        joined.append((no, raw))
        try:
            if not raw.strip() or raw.startswith('#'):
                continue
            if raw.startswith('\t'):
                if current is None or current.word not in ('type', 'kind'):
                    raise Problem('a field outside of a type')
                parse_field(raw, current)
                continue
            word, _, rest = raw.partition(' ')
            if word == 'group':
                group = '' if rest.strip() == 'core' else rest.strip()
                group = 'meta.k8s.io' if group == 'meta' else group
            elif word == 'version':
                section = Section(file, group)
                section.version = rest.strip()
                sections.append(section)
            elif word == 'package':
                section.package = rest.strip()
            elif word in ('enum', 'words', 'strings', 'type', 'kind'):
                current = parse_head(raw, section)
                current.where = '%s:%d' % (path, no)
            else:
                raise Problem('"%s" begins nothing known' % word)
        except Problem as p:
            sys.exit('%s:%d: %s' % (path, no, p))
    return sections


class Compiler:
    def __init__(self, sections):
        self.sections = sections
        self.files = {}
        for s in sections:
            self.files.setdefault(s.file, s)
        self.anonymous = {}  # key -> C type key
        self.order = []

    def named(self, name, section, where):
        if name in section.types:
            return section.types[name]
        if '.' in name:
            file, _, rest = name.partition('.')
            if file in self.files and rest in self.files[file].types:
                return self.files[file].types[rest]
        sys.exit('%s: no type "%s"' % (where, name))

    def resolve(self, text, section, where):
        """A key: ('T', full name), ('S', scalar), ('L', key) or ('M', key)."""
        text = text.lstrip('*')
        if text.startswith('[]') or text.startswith('{}'):
            key = ('L' if text[0] == '[' else 'M', self.resolve(text[2:], section, where))
            self.anonymous[key] = True
            return key
        if text in section.types or '.' in text:
            return ('T', self.named(text, section, where).full)
        if text in SCALARS:
            return ('S', text)
        return ('T', self.named(text, section, where).full)

    def flatten(self, t):
        """Own fields in wire order, then those inlined."""
        if t.flat is not None:
            return t.flat
        t.flat = sorted(t.fields, key=lambda f: f.number or 1 << 16)
        for e in t.embeds:
            inner = self.named(e.text, t.section, t.where)
            for f in self.flatten(inner):
                g = Field(f.name, f.text, 0)
                g.help, g.marks, g.pointer, g.inlined = f.help, f.marks, f.pointer, True
                g.key = f.key
                t.flat.append(g)
        names = [f.name for f in t.flat]
        if len(set(names)) != len(names):
            sys.exit('%s: a field of "%s" is there twice' % (t.where, t.name))
        numbers = [f.number for f in t.flat if f.number]
        if len(set(numbers)) != len(numbers):
            sys.exit('%s: a wire number of "%s" is there twice' % (t.where, t.name))
        return t.flat


def c_str(s):
    return '"' + s.replace('\\', '\\\\').replace('"', '\\"') + '"'


class Writer:
    def __init__(self, compiler):
        self.c = compiler
        self.lists, self.limits = {}, {}
        self.index = {}
        self.out = []

    def words(self, values):
        key = tuple(values)
        return 'words_%d' % self.lists.setdefault(key, len(self.lists))

    def limit(self, marks):
        if 'min' not in marks and 'max' not in marks:
            return 'NULL'
        key = (marks.get('min'), marks.get('max'))
        return '&limits[%d]' % self.limits.setdefault(key, len(self.limits))

    def ref(self, key):
        return '&types[%d]' % self.index[key]

    def field(self, f):
        m = f.marks
        parts = ['.name = ' + c_str(f.name), '.help = ' + c_str(f.help), '.type = ' + self.ref(f.key)]
        patch = m.get('patch')
        if patch:
            p = re.fullmatch(r'([a-zA-Z,]*)(?:\((.*)\))?', patch)
            for word, bit in (('merge', 'patch_merge'), ('retainKeys', 'patch_retain_keys'), ('replace', 'patch_replace')):
                if word in p.group(1).split(','):
                    parts.append('.%s = 1' % bit)
            if p.group(2):
                parts.append('.merge_key = ' + c_str(p.group(2)))
        lst = m.get('list', 'atomic')
        if lst == 'set':
            parts.append('.list = SCHEMA_LIST_SET')
        elif lst.startswith('map('):
            parts.append('.list = SCHEMA_LIST_MAP')
            parts.append('.list_keys = ' + self.words(lst[4:-1].split(',')))
        if 'default' in m:
            parts.append('.fallback = ' + c_str(m['default']))
        limit = self.limit(m)
        if limit != 'NULL':
            parts.append('.limit = ' + limit)
        if 'says' in m:
            parts.append('.says = ' + m['says'])
        if f.number:
            parts.append('.number = %d' % f.number)
        if 'required' not in m and 'keep' not in m:
            parts.append('.omit_empty = 1')
        for mark, bit in (('required', 'required'), ('must', 'must'), ('fixed', 'create_only'), ('atomic', 'map_atomic')):
            if mark in m:
                parts.append('.%s = 1' % bit)
        if f.pointer:
            parts.append('.pointer = 1')
        return '\t{ ' + ', '.join(parts) + ' },'


def compile_all(sections, out):
    c = Compiler(sections)
    w = Writer(c)
    named = {}
    for s in sections:
        for t in s.types.values():
            for f in t.fields:
                f.key = c.resolve(f.text, s, t.where)
            for e in t.embeds:
                e.key = c.resolve(e.text, s, t.where)
            named[t.full] = t
    for name in SCALARS:
        if 'OrString' in name and name != 'IntOrString' or name.startswith('JSONSchemaPropsOr'):
            c.anonymous.setdefault(('S', name), True)
    c.anonymous[('L', ('S', 'string'))] = True
    for t in named.values():
        c.flatten(t)
    # Named types first, in order of their names (looked up by binary search), then the nameless ones.
    keys = [('T', n) for n in named] + [('S', n) for n in SCALAR_NAMES]
    keys.sort(key=lambda k: k[1] if k[0] == 'T' else SCALAR_NAMES[k[1]])
    n_named = len(keys)
    keys += [('S', n) for n in SCALARS if n not in SCALAR_NAMES]
    keys += sorted((k for k in c.anonymous if k[0] in 'LM'), key=repr)
    w.index = {k: i for i, k in enumerate(keys)}

    fields, embeds, by_name, types = [], [], [], []
    n_fields = n_by_name = 0
    props = ('T', CRD + 'JSONSchemaProps')
    for key in keys:
        parts = []
        if key[0] in 'LM':
            parts = ['.kind = SCHEMA_' + ('LIST' if key[0] == 'L' else 'MAP'), '.element = ' + w.ref(key[1])]
        elif key[0] == 'S':
            parts = ['.kind = SCHEMA_' + SCALARS[key[1]]]
            if key[1] in SCALAR_NAMES:
                parts += ['.name = ' + c_str(SCALAR_NAMES[key[1]]), '.help = ' + c_str(SCALAR_HELP[key[1]])]
            if key[1].startswith('JSONSchemaPropsOr') and props in w.index:
                parts.append('.element = ' + w.ref(props))
        else:
            t = named[key[1]]
            parts = ['.name = ' + c_str(t.full), '.help = ' + c_str(t.help)]
            if t.word in ('enum', 'words'):
                parts.append('.kind = SCHEMA_STRING')
                if t.word == 'enum':
                    parts.append('.enum_values = ' + w.words(t.values if t.in_order else sorted(t.values)))
            elif t.word == 'strings':
                parts += ['.kind = SCHEMA_LIST', '.wire_items = 1', '.element = ' + w.ref(('S', 'string'))]
            else:
                parts.append('.kind = SCHEMA_OBJECT')
                flat = list(t.flat)
                if t.word == 'kind':
                    for n, h in (('apiVersion', 'Group and version of the object, such as apps/v1.'),
                                 ('kind', 'The kind of the object, such as Deployment.')):
                        f = Field(n, 'string', 0)
                        f.help, f.key = h, ('S', 'string')
                        flat.append(f)
                    parts.append('.is_kind = 1')
                if flat:
                    parts += ['.fields = &fields[%d]' % n_fields, '.n_fields = %d' % len(flat),
                              '.by_name = &by_name[%d]' % n_by_name]
                if t.atomic:
                    parts.append('.struct_atomic = 1')
                if t.embeds:
                    parts.append('.embeds = &embeds[%d]' % len(embeds))
                    embeds.extend('\t{ .type = %s, .number = %d },' % (w.ref(e.key), e.number) for e in t.embeds)
                    embeds.append('\t{ .number = 0 },')
                fields.append('\t/* %s */' % t.full)
                fields.extend(w.field(f) for f in flat)
                order = sorted(range(len(flat)), key=lambda i: flat[i].name.encode())
                if order:
                    by_name.append('\t' + ', '.join(str(i) for i in order) + ',')
                n_fields += len(flat)
                n_by_name += len(flat)
        types.append('\t{ ' + ', '.join(parts) + ' },')

    kinds = sorted((s.group, s.version, t.name, t.full) for s in sections for t in s.types.values() if t.word == 'kind')
    p = out.append
    p('/* Made by tools/schemac.py from the files in api/: change those. */')
    p('#include "schema/tables.h"\n')
    p('static const struct schema_type types[%d];\n' % len(types))
    for words, i in w.lists.items():
        p('static const char *const words_%d[] = { %s, NULL };' % (i, ', '.join(c_str(x) for x in words)))
    p('\nstatic const struct schema_limit limits[] = {')
    for lo, hi in w.limits:
        p('\t{ %s, %s },' % (lo or 'INT64_MIN', hi or 'INT64_MAX'))
    p('};\n\nstatic const struct schema_embed embeds[] = {\n' + '\n'.join(embeds) + '\n};\n')
    p('static const uint16_t by_name[] = {\n' + '\n'.join(by_name) + '\n};\n')
    p('static const struct schema_field fields[] = {\n' + '\n'.join(fields) + '\n};\n')
    p('static const struct schema_type types[%d] = {\n' % len(types) + '\n'.join(types) + '\n};\n')
    p('static const struct schema_kind_entry kinds[] = {')
    for g, v, k, full in kinds:
        p('\t{ %s, %s, %s, %s },' % (c_str(g), c_str(v), c_str(k), w.ref(('T', full))))
    p('};\n')
    p('const struct schema_tables schema_tables = {')
    p('\t.types = types, .n_named = %d, .n_types = %d,' % (n_named, len(types)))
    p('\t.kinds = kinds, .n_kinds = %d,' % len(kinds))
    p('\t.string = %s, .boolean = %s, .strings = %s,' % (
        w.ref(('S', 'string')), w.ref(('S', 'bool')), w.ref(('L', ('S', 'string')))))
    p('};')


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--out', required=True, help='the C file to write')
    ap.add_argument('files', nargs='+')
    args = ap.parse_args()
    sections = [s for f in sorted(args.files) for s in parse_file(f)]
    out = []
    compile_all(sections, out)
    with open(args.out, 'w', encoding='utf-8') as f:
        f.write('\n'.join(out) + '\n')


if __name__ == '__main__':
    main()
