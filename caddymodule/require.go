package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/oauth2-passport/caddy-passport/issuer/verify"
)

// requirement is one `require` of a route: an expression in CEL, https://cel.dev, that has to come out true.
//
// It is compiled and typed when the config is loaded. What an evaluation costs is bounded, whatever a caller sends: an
// expression is short, a regular expression stands in it literally (and takes time that grows with the text alone), the
// texts of a request that it may look at are short, and one that goes through lists ends when that takes too long.
type requirement struct {
	program cel.Program
	path    bool // it looks at the path of the request
	method  bool // it looks at the method
}

const (
	maxExpression     = 4 << 10  // bytes
	maxExpressionCost = 100_000  // of CEL's units, for expressions with macros that go through lists
	maxExpressionText = 16 << 10 // bytes of a path, a query or a header field that an expression looks at
)

// expressions is the environment of all expressions.
var expressions = sync.OnceValues(func() (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	return cel.NewEnv(
		cel.CustomTypeProvider(&objectTypes{registry}),
		cel.CustomTypeAdapter(registry),
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("scopes", cel.ListType(cel.StringType)),
		cel.Variable("client", clientType),
		cel.Variable("user", userType),
		cel.Variable("request", requestType),
		cel.Function("lowerAscii", cel.MemberOverload("string_lower_ascii", []*cel.Type{cel.StringType}, cel.StringType,
			cel.UnaryBinding(lowerASCII))),
		ext.Network(),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
	)
})

// lowerASCII is the function of that name in CEL's library of strings. The others of that library can make long texts
// of short ones.
func lowerASCII(value ref.Val) ref.Val {
	s, ok := value.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(value)
	}
	return types.String(strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}, string(s)))
}

// compiled are the requirements of the last expressions that were right: a Caddyfile's are compiled when it is adapted,
// again when it is provisioned, and again with each reload.
var compiled struct {
	sync.Mutex
	all map[string]*requirement
}

// maxCompiled is how many of them are kept. When there are more, all are forgotten.
const maxCompiled = 4096

// compileRequirement makes a requirement of an expression. The error says in one line what is wrong with it, and where.
func compileRequirement(expression string) (*requirement, error) {
	compiled.Lock()
	defer compiled.Unlock()
	if r := compiled.all[expression]; r != nil {
		return r, nil
	}
	r, err := newRequirement(expression)
	if err != nil {
		return nil, err
	}
	if compiled.all == nil || len(compiled.all) >= maxCompiled {
		compiled.all = make(map[string]*requirement)
	}
	compiled.all[expression] = r
	return r, nil
}

func newRequirement(expression string) (*requirement, error) {
	if strings.TrimSpace(expression) == "" {
		return nil, errors.New("the expression is empty")
	}
	env, err := expressions()
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(expression)
	if issues.Err() != nil {
		var faults []string
		for _, fault := range issues.Errors() {
			at := fmt.Sprintf("column %d: ", fault.Location.Column()+1)
			if fault.Location.Line() > 1 {
				at = fmt.Sprintf("line %d, %s", fault.Location.Line(), at)
			}
			faults = append(faults, at+strings.ReplaceAll(fault.Message, "\n", " "))
		}
		return nil, fmt.Errorf("the expression is wrong: %s", strings.Join(faults, "; "))
	}
	if out := checked.OutputType(); out.Kind() != types.BoolKind && out.Kind() != types.DynKind {
		return nil, fmt.Errorf("the expression comes out as %s: it has to be true or false", out)
	}
	r := new(requirement)
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	for _, e := range ast.MatchDescendants(ast.NavigateAST(checked.NativeRep()), ast.AllMatcher()) {
		switch e.Kind() {
		case ast.ComprehensionKind:
			options = append(options, cel.CostLimit(maxExpressionCost))
		case ast.SelectKind:
			r.note(e.AsSelect())
		case ast.IdentKind:
			if strings.TrimPrefix(e.AsIdent(), ".") == "request" {
				if parent, ok := e.Parent(); !ok || parent.Kind() != ast.SelectKind {
					return nil, errors.New(`"request" has to be one of its fields, like request.path`)
				}
			}
		case ast.CallKind:
			call := e.AsCall()
			if call.FunctionName() != "matches" {
				continue
			}
			if args := call.Args(); len(args) == 0 || args[len(args)-1].Kind() != ast.LiteralKind {
				return nil, errors.New("matches takes a regular expression that is written out, " +
					"not one that comes with the request")
			}
		}
	}
	r.program, err = env.Program(checked, options...)
	if err != nil {
		return nil, fmt.Errorf("the expression is wrong: %w", err)
	}
	return r, nil
}

// note remembers what of the request the expression looks at.
func (r *requirement) note(field ast.SelectExpr) {
	if of := field.Operand(); of.Kind() != ast.IdentKind || strings.TrimPrefix(of.AsIdent(), ".") != "request" {
		return
	}
	switch field.FieldName() {
	case "path":
		r.path = true
	case "method":
		r.method = true
	}
}

// compileRequirements compiles all that a route requires.
func compileRequirements(expressions []string) ([]*requirement, error) {
	var all []*requirement
	for i, expression := range expressions {
		r, err := compileRequirement(expression)
		if err != nil {
			return nil, fmt.Errorf("require %d: %w", i+1, err)
		}
		if slices.Contains(expressions[:i], expression) {
			return nil, fmt.Errorf("require %d: the expression is repeated", i+1)
		}
		all = append(all, r)
	}
	return all, nil
}

// unmet is the refusal of a request that does not meet the requirement at that place, from zero. It names the place:
// what the expression says is the operator's own business.
func unmet(place int, cause error) *refusal {
	return &refusal{
		status:      http.StatusForbidden,
		code:        "access_denied",
		description: fmt.Sprintf("requirement %d of this route is not met", place+1),
		cause:       cause,
	}
}

var errNotTrue = errors.New("the expression came out as something other than true or false")

// meets tells whether the request meets all requirements: nil if so. A requirement that cannot be evaluated is not met.
//
// Upstreams read some paths and methods in another way than they were sent, see [doors]. An expression that looks at
// them must come out true for each reading.
func (g *gate) meets(r *http.Request, open *running, id *verify.Identity) *refusal {
	if len(g.require) == 0 {
		return nil
	}
	s := evaluations.Get().(*evaluation)
	defer s.release()
	s.begin(r, open, id, g.instance)
	for place, required := range g.require {
		if refused := required.met(s, place); refused != nil {
			return refused
		}
	}
	var paths, methods []string
	allPaths, allMethods := true, true
	if slices.ContainsFunc(g.require, func(r *requirement) bool { return r.path }) {
		paths, allPaths = otherPaths(r.URL)
	}
	if slices.ContainsFunc(g.require, func(r *requirement) bool { return r.method }) {
		methods, allMethods = otherMethods(r)
	}
	for place, required := range g.require {
		if required.path && !allPaths || required.method && !allMethods {
			return unmet(place, errTooManyReadings)
		}
		methods, paths := methods, paths
		if !required.method {
			methods = nil
		}
		if !required.path {
			paths = nil
		}
		if len(paths)+len(methods) == 0 {
			continue
		}
		if refused := required.metInEach(s, place, r, methods, paths); refused != nil {
			return refused
		}
	}
	return nil
}

// maxEvaluations is how often a requirement is evaluated, for each method with each path that a request may be taken
// to have.
const maxEvaluations = 100

var errTooManyReadings = errors.New("there are too many ways to read the path and the method")

// metInEach evaluates the requirement for each method with each path, but for those that were sent.
func (r *requirement) metInEach(s *evaluation, place int, sent *http.Request, methods, paths []string) *refusal {
	if (1+len(methods))*(1+len(paths)) > maxEvaluations {
		return unmet(place, errTooManyReadings)
	}
	for i, method := range append([]string{sent.Method}, methods...) {
		if sent.Method == http.MethodHead && method == http.MethodGet {
			continue // what is allowed to HEAD need not be to GET
		}
		for j, path := range append([]string{sent.URL.Path}, paths...) {
			if i == 0 && j == 0 {
				continue
			}
			s.readAs(method, path)
			if refused := r.met(s, place); refused != nil {
				return refused
			}
		}
	}
	return nil
}

// otherPaths are what an upstream may take the path of a request for. It is false when they are too many.
func otherPaths(u *url.URL) ([]string, bool) {
	if !oddPath(u, false) || u.RawPath == "" && onlyLetters(u.Path) {
		return nil, true
	}
	return readings(u, false)
}

// onlyLetters tells whether all that is odd about a path is that it has letters beyond ASCII, in UTF-8 and encoded as
// they should be.
func onlyLetters(path string) bool {
	if !utf8.ValidString(path) || lookalikes.Replace(path) != path {
		return false
	}
	ascii := strings.Map(func(c rune) rune {
		if c >= utf8.RuneSelf && unicode.IsLetter(c) {
			return 'a'
		}
		return c
	}, path)
	return !oddPath(&url.URL{Path: ascii}, false)
}

// met evaluates the requirement.
func (r *requirement) met(s *evaluation, place int) *refusal {
	out, _, err := r.program.Eval(s)
	switch {
	case s.unavailable != nil:
		return refusedUnavailable(s.unavailable)
	case err != nil:
		return unmet(place, withoutTexts(err))
	case out == types.True:
		return nil
	case out == types.False:
		return unmet(place, nil)
	}
	return unmet(place, errNotTrue)
}

// withoutTexts takes from an error of an evaluation what it quotes: that may come from the request.
func withoutTexts(err error) error {
	var kept strings.Builder
	var quoted rune
	for _, c := range err.Error() {
		switch {
		case quoted == 0 && (c == '"' || c == '`' || c == '\''):
			quoted = c
			kept.WriteString("…")
		case quoted == 0:
			kept.WriteRune(c)
		case c == quoted:
			quoted = 0
		}
		if kept.Len() > 200 {
			break
		}
	}
	return errors.New(kept.String())
}
