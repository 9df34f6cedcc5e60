package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// An object is one of JSON.
type object map[string]any

// describe writes the description of the API, OpenAPI 3.1, of the table that serves it.
func describe(table []route, version string) ([]byte, error) {
	d := &description{schemas: object{}}
	paths := object{}
	for i := range table {
		r := &table[i]
		op := object{
			"summary": r.summary, "operationId": strings.Trim(strings.NewReplacer("/", "_", ".", "_").Replace(r.path), "_"),
			"security": security(r.class), "responses": d.responses(r),
		}
		var parameters []object
		for _, p := range r.parameters {
			parameters = append(parameters, object{"name": p.name, "in": "query", "description": p.doc, "schema": object{"type": p.kind}})
		}
		if parameters != nil {
			op["parameters"] = parameters
		}
		paths[r.path] = object{"get": op}
	}
	return json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Airside admin API", "version": version,
			"description": "How a running gateway is. Nothing here changes anything. Times are in UTC, durations in seconds.",
			"license":     object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"paths": paths,
		"components": object{
			"schemas": d.schemas,
			"securitySchemes": object{"token": object{
				"type": "http", "scheme": "bearer", "description": "The token that the configuration sets as admin.token.",
			}},
		},
	}, "", "  ")
}

// security says what a class needs. An empty requirement means that nothing may be
// needed.
func security(c class) []object {
	switch c {
	case everyone:
		return []object{}
	case operators:
		return []object{{"token": []string{}}, {}}
	case trusted:
	}
	return []object{{"token": []string{}}}
}

// A description collects the schemas of what is answered.
type description struct{ schemas object }

func (d *description) responses(r *route) object {
	out := object{"default": object{"description": "A refusal.", "content": object{problems: object{"schema": d.schema(reflect.TypeFor[Problem]())}}}}
	for _, a := range r.answers {
		media := object{}
		switch {
		case a.sample != nil:
			media["schema"] = d.schema(reflect.TypeOf(a.sample))
		case strings.HasPrefix(a.media, "text/"), a.media == yamlText:
			media["schema"] = object{"type": "string"}
		}
		key := strconv.Itoa(a.status)
		at, ok := out[key].(object)
		if !ok {
			at = object{"description": a.what, "content": object{}}
			out[key] = at
		} else {
			at["description"] = fmt.Sprint(at["description"], " ", a.what)
		}
		if content, ok := at["content"].(object); ok {
			content[a.media] = media
		}
	}
	if r.class != everyone {
		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests} {
			out[strconv.Itoa(status)] = object{
				"description": http.StatusText(status), "content": object{problems: object{"schema": d.schema(reflect.TypeFor[Problem]())}},
			}
		}
	}
	return out
}

// schema describes what a Go type becomes as JSON. Structs are described once, by name.
func (d *description) schema(t reflect.Type) object {
	//nolint:exhaustive // what the answers are made of
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return object{"type": "object"}
	}
	switch t.Kind() { //nolint:exhaustive // what the answers are made of
	case reflect.Pointer:
		return object{"anyOf": []object{d.schema(t.Elem()), {"type": "null"}}}
	case reflect.Slice:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Struct:
		return d.structure(t)
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	}
	return object{"type": "integer"}
}

func (d *description) structure(t reflect.Type) object {
	name := strings.ToUpper(t.Name()[:1]) + strings.TrimSuffix(t.Name()[1:], "Answer")
	ref := object{"$ref": "#/components/schemas/" + name}
	if d.schemas[name] != nil {
		return ref
	}
	properties, required := object{}, []string{}
	d.schemas[name] = object{"type": "object", "properties": properties, "required": &required, "additionalProperties": false}
	for f := range t.Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		s := d.schema(f.Type)
		if doc := f.Tag.Get("doc"); doc != "" {
			s["description"] = doc // beside a reference, too: JSON Schema 2020-12 allows it
		}
		properties[key] = s
		required = append(required, key)
	}
	return ref
}
