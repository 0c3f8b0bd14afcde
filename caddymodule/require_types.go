package caddymodule

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// The types of the objects that an expression of `require` knows.
var (
	clientType  = cel.ObjectType("passport.Client")
	userType    = cel.ObjectType("passport.User")
	requestType = cel.ObjectType("passport.Request")
)

// field is one field of an object.
type field struct {
	kind *cel.Type
	get  func(*evaluation) (ref.Val, error)
}

// errAbsent is the error of a field that is not there. An expression asks by has() whether it is.
var errAbsent = errors.New("no such field here")

// objectFields are the fields of each type of object.
var objectFields = map[string]map[string]field{
	clientType.TypeName(): {
		"id":          {cel.StringType, (*evaluation).clientID},
		"name":        {cel.StringType, (*evaluation).clientName},
		"first_party": {cel.BoolType, (*evaluation).clientFirstParty},
	},
	userType.TypeName(): {
		"id":       {cel.StringType, (*evaluation).userID},
		"username": {cel.StringType, (*evaluation).username},
		"email":    {cel.StringType, (*evaluation).email},
	},
	requestType.TypeName(): {
		"method":    {cel.StringType, (*evaluation).requestMethod},
		"path":      {cel.StringType, (*evaluation).requestPath},
		"query":     {cel.MapType(cel.StringType, cel.StringType), (*evaluation).requestQuery},
		"headers":   {cel.MapType(cel.StringType, cel.StringType), (*evaluation).requestHeaders},
		"remote_ip": {cel.StringType, (*evaluation).remoteIP},
	},
}

// objectTypes is CEL's registry of types with ours in it.
type objectTypes struct{ *types.Registry }

// FindStructType implements [types.Provider].
func (p *objectTypes) FindStructType(name string) (*types.Type, bool) {
	if _, ok := objectFields[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Registry.FindStructType(name)
}

// FindStructFieldNames implements [types.Provider].
func (p *objectTypes) FindStructFieldNames(name string) ([]string, bool) {
	fields, ok := objectFields[name]
	if !ok {
		return p.Registry.FindStructFieldNames(name)
	}
	var names []string
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, true
}

// FindStructFieldType implements [types.Provider].
func (p *objectTypes) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	fields, ok := objectFields[name]
	if !ok {
		return p.Registry.FindStructFieldType(name, fieldName)
	}
	f, ok := fields[fieldName]
	if !ok {
		return nil, false
	}
	return &types.FieldType{
		Type: f.kind,
		IsSet: func(target any) bool {
			o, ok := target.(*object)
			if !ok {
				return false
			}
			value, err := f.get(o.evaluation)
			return err == nil && value != nil
		},
		GetFrom: func(target any) (any, error) {
			o, ok := target.(*object)
			if !ok {
				return nil, errAbsent
			}
			return f.get(o.evaluation)
		},
	}, true
}

// object is the client, the user or the request that an expression speaks of.
type object struct {
	kind       *cel.Type
	evaluation *evaluation
}

var errNoConversion = errors.New("objects cannot be converted")

// ConvertToNative implements [ref.Val].
func (*object) ConvertToNative(reflect.Type) (any, error) { return nil, errNoConversion }

// ConvertToType implements [ref.Val].
func (o *object) ConvertToType(kind ref.Type) ref.Val {
	if kind == types.TypeType {
		return o.kind
	}
	return types.WrapErr(errNoConversion)
}

// Equal implements [ref.Val].
func (o *object) Equal(other ref.Val) ref.Val { return types.Bool(ref.Val(o) == other) }

// Type implements [ref.Val].
func (o *object) Type() ref.Type { return o.kind }

// Value implements [ref.Val].
func (o *object) Value() any { return o }

// tokenValues is what expressions see of a token, converted once for all requests with it.
type tokenValues struct {
	claims                     func() *claimMap // which are decoded for who asks for them
	clientID, userID, username ref.Val
}

func valuesOf(id *verify.Identity) any {
	return &tokenValues{
		claims:   sync.OnceValue(func() *claimMap { return claimsAsValues(id.Claims()) }),
		clientID: types.String(id.ClientID), userID: types.String(id.UserID), username: types.String(id.Username),
	}
}

// claimMap is a map of claims.
type claimMap struct {
	traits.Mapper
	values map[string]ref.Val
}

// claimsAsValues converts the claims of a token.
func claimsAsValues(claims map[string]any) *claimMap {
	m := &claimMap{values: make(map[string]ref.Val, len(claims))}
	all := make(map[ref.Val]ref.Val, len(claims))
	for name, value := range claims {
		converted := claimAsValue(value)
		m.values[name] = converted
		all[types.String(name)] = converted
	}
	m.Mapper = types.NewRefValMap(types.DefaultTypeAdapter, all)
	return m
}

func claimAsValue(value any) ref.Val {
	switch value := value.(type) {
	case map[string]any:
		return claimsAsValues(value)
	case []any:
		all := make([]ref.Val, len(value))
		for i := range value {
			all[i] = claimAsValue(value[i])
		}
		return types.NewRefValList(types.DefaultTypeAdapter, all)
	case nil:
		return types.NullValue
	}
	return types.DefaultTypeAdapter.NativeToValue(value) // a string, a number, true or false
}

// Find implements [traits.Mapper].
func (m *claimMap) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	value, ok := m.values[string(name)]
	return value, ok
}

// Get implements [traits.Indexer].
func (m *claimMap) Get(key ref.Val) ref.Val {
	value, ok := m.Find(key)
	if !ok {
		return types.NewErr("no such key: %v", key)
	}
	return value
}

// Contains implements [traits.Container].
func (m *claimMap) Contains(key ref.Val) ref.Val {
	_, ok := m.Find(key)
	return types.Bool(ok)
}

// textMap is the query or the header of a request. A name that comes more than once has no value: which one the
// upstream takes is not known. Such a value is an error, so that the request is refused.
type textMap struct {
	traits.Mapper // its names, with empty values
	find          func(name string) (values []string)
}

func newTextMap(names []string, find func(string) []string) *textMap {
	all := make(map[string]string, len(names))
	for _, name := range names {
		all[name] = ""
	}
	return &textMap{types.NewStringStringMap(types.DefaultTypeAdapter, all), find}
}

// Find implements [traits.Mapper].
func (m *textMap) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	switch values := m.find(string(name)); {
	case len(values) == 0:
		return nil, false
	case len(values) > 1:
		return types.NewErr("it comes more than once in the request"), false
	case len(values[0]) > maxExpressionText:
		return types.WrapErr(errTooLong), false
	default:
		return types.String(values[0]), true
	}
}

var errTooLong = fmt.Errorf("a text of the request is longer than %d bytes", maxExpressionText)

// Get implements [traits.Indexer].
func (m *textMap) Get(key ref.Val) ref.Val {
	value, ok := m.Find(key)
	switch {
	case ok, value != nil:
		return value
	}
	return types.NewErr("no such key: %v", key)
}

// Contains implements [traits.Container].
func (m *textMap) Contains(key ref.Val) ref.Val {
	name, ok := key.(types.String)
	return types.Bool(ok && len(m.find(string(name))) > 0)
}

// Equal implements [ref.Val]. There is nothing to compare it with.
func (*textMap) Equal(ref.Val) ref.Val { return types.WrapErr(errNoConversion) }

// heldScopes is the scopes of a token, those that they include among them.
type heldScopes struct {
	traits.Lister // made when somebody goes through it
	evaluation    *evaluation
}

func (l *heldScopes) list() traits.Lister {
	if l.Lister == nil {
		s := l.evaluation
		names := s.id.Scopes
		if s.id.Own() { // what a scope of another issuer includes, ours does not say
			names = s.open.issuer.ScopesOf(names)
		}
		l.Lister = types.NewStringList(types.DefaultTypeAdapter, names)
	}
	return l.Lister
}

// Contains implements [traits.Container].
func (l *heldScopes) Contains(value ref.Val) ref.Val {
	name, ok := value.(types.String)
	if !ok {
		return types.False
	}
	return types.Bool(l.evaluation.hasScope(string(name)))
}

// Add implements [traits.Adder].
func (l *heldScopes) Add(other ref.Val) ref.Val { return l.list().Add(other) }

// ConvertToNative implements [ref.Val].
func (l *heldScopes) ConvertToNative(t reflect.Type) (any, error) { return l.list().ConvertToNative(t) }

// ConvertToType implements [ref.Val].
func (l *heldScopes) ConvertToType(t ref.Type) ref.Val { return l.list().ConvertToType(t) }

// Equal implements [ref.Val].
func (l *heldScopes) Equal(other ref.Val) ref.Val { return l.list().Equal(other) }

// Get implements [traits.Indexer].
func (l *heldScopes) Get(index ref.Val) ref.Val { return l.list().Get(index) }

// Iterator implements [traits.Iterable].
func (l *heldScopes) Iterator() traits.Iterator { return l.list().Iterator() }

// Size implements [traits.Sizer].
func (l *heldScopes) Size() ref.Val { return l.list().Size() }

// Type implements [ref.Val].
func (l *heldScopes) Type() ref.Type { return types.ListType }

// Value implements [ref.Val].
func (l *heldScopes) Value() any { return l.list().Value() }

// Interface guards
var (
	_ types.Provider = (*objectTypes)(nil)
	_ ref.Val        = (*object)(nil)
	_ traits.Mapper  = (*claimMap)(nil)
	_ traits.Mapper  = (*textMap)(nil)
	_ traits.Lister  = (*heldScopes)(nil)
)
